"""The layouts in which training code leaves weights: wrappers, prefixes, normalisation inside, class names beside them.

Known are plain state dicts (torchvision, timm), the wrappers and prefixes of the usual loops, timm's averaged weights,
RobustBench (normalisation as buffers of the network) and MadryLab/robustness (normaliser, network, and an attacker that
holds both a second time).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xaicli.errors import InputError, nearest
from xaicli.models.foreign import read_weights

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema", "last", "best")
_PREFIXES = ("module.", "_orig_mod.")  # left by DistributedDataParallel and torch.compile
_CLASSES = ("classes", "class_names", "class_to_idx")
_MOMENTS = {"mean": "std", "mu": "sigma", "new_mean": "new_std"}
_DEEPEST = 8
_ATTACKER, _ATTACKED = "attacker.", "attacker.model."  # of MadryLab/robustness


@dataclass(frozen=True)
class Foreign:
    """A network's tensors by name in the file's order, and what else the file says of the network.

    normaliser: those of the tensors that `mean` and `std` (one value per channel, of pixels in [0, 1]) were read from.
    """

    state: dict[str, Tensor]
    normaliser: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None

    @property
    def network(self) -> dict[str, Tensor]:
        """The tensors of a network that does not normalise by itself."""
        return {name: tensor for name, tensor in self.state.items() if name not in self.normaliser}


def load_foreign(path: str | os.PathLike[str], entry: str | None = None) -> Foreign:
    """Read weights and take off what surrounds them.

    entry: which of several sets of weights in the file is meant. Raises what `read_weights` raises, and InputError for
    a file without a state dict, with several of them and no `entry`, or without the one that is named.
    """
    path = Path(path)
    found, classes = _unwrap(read_weights(path), entry, path)
    state = _one_copy(_strip_prefixes(_check_tensors(found, path)), path)
    normaliser = _normaliser(state)
    mean, std = (tuple(tensor.flatten().tolist()) for tensor in normaliser.values()) if normaliser else (None, None)
    return Foreign(state, tuple(normaliser), mean, std, classes)


def _unwrap(found: object, entry: str | None, path: Path) -> tuple[Mapping[object, object], tuple[str, ...] | None]:
    """The innermost mapping, and the class names beside any of those around it."""
    classes: tuple[str, ...] | None = None
    for _ in range(_DEEPEST):  # a pickled dictionary may hold itself
        if not isinstance(found, Mapping):
            break
        sets = [str(key) for key, value in found.items() if isinstance(value, Mapping)]
        known = [key for key in sets if key in _WRAPPERS]
        classes = classes or _class_names(found)
        if entry in sets:
            known, entry = [str(entry)], None
        if len(known) > 1:
            raise InputError(f"'{path}' holds several sets of weights ({', '.join(known)}); choose one with --entry.")
        if not known:
            if entry is not None:
                raise InputError(
                    f"'{path}' has no entry '{entry}'.{nearest(entry, sets)} It has: {', '.join(sets) or 'none'}."
                )
            return found, classes
        found = found[known[0]]
    raise InputError(
        f"'{path}' holds {type(found).__name__} where a state dict (tensors by name) is needed; save that."
    )


def _class_names(found: Mapping[object, object]) -> tuple[str, ...] | None:
    """Names in the order of the logits: a list, or a dictionary from names to 0, 1, 2, ..."""
    for key in _CLASSES:
        value = found.get(key)
        if isinstance(value, Mapping):
            numbers = {number: name for name, number in value.items() if isinstance(number, int)}
            value = [numbers.get(number) for number in range(len(value))]
        if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
            return tuple(value)
    return None


def _check_tensors(state: Mapping[object, object], path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(
                f"'{path}' holds {type(value).__name__} under {name!r}, where only tensors by name are expected; "
                "save the plain state dict."
            )
        if value.layout is not torch.strided or value.is_quantized:
            raise InputError(
                f"the tensor '{name}' in '{path}' is sparse or quantized; save it as a dense float tensor."
            )
        tensors[name] = value.detach()
    if not tensors:
        raise InputError(f"'{path}' holds no tensors; save the model's state dict.")
    return tensors


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _strip_prefixes({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


def _one_copy(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state of a robustness file without the attacker, whose network must be the model itself."""
    network = [name for name in state if name.startswith(_ATTACKED)]
    for name in network:
        own = state.get(name.removeprefix(_ATTACKER))
        if own is None or own.shape != state[name].shape or not torch.equal(own, state[name]):
            raise InputError(f"'{path}' attacks another network than its own ('{name}'); save the plain state dict.")
    return {name: tensor for name, tensor in state.items() if not name.startswith(_ATTACKER)} if network else state


def _normaliser(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A mean and a deviation per channel, [C, 1, 1] or [1, C, 1, 1], of the network or of a part of it."""
    for name, mean in state.items():
        owner, dot, last = name.rpartition(".")
        other = f"{owner}{dot}{_MOMENTS.get(last, '')}"
        if "." not in owner and last in _MOMENTS and other in state:
            std = state[other]
            if _is_per_channel(mean) and std.shape == mean.shape and std.is_floating_point() and bool((std > 0).all()):
                return {name: mean, other: std}
    return {}


def _is_per_channel(tensor: Tensor) -> bool:
    shape = tuple(tensor.shape)
    return tensor.is_floating_point() and shape in ((tensor.numel(), 1, 1), (1, tensor.numel(), 1, 1))
