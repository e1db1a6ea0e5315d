"""A network's state: fitted name by name and shape by shape, and taken out again as arrays for a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xaicli.errors import InputError

PREFIX = "network."
"""What the names of a network's tensors begin with in a classifier and in a checkpoint."""
COUNTER = ".num_batches_tracked"
"""How the counters of BatchNorm end; files older than 2018 lack them and nothing depends on them."""
_SHOWN = 3


def fit_state(network: nn.Module, state: Mapping[str, Tensor], what: str, *, assign: bool = False) -> None:
    """Load a state whose names and shapes are exactly the network's.

    what: the file's name for the InputError, which shows the first names that are missing, unexpected or mis-shaped.
    assign: make the given tensors the network's own (needed when it was built on the meta device) instead of copying.
    """
    expected = network.state_dict()
    state = _with_counters(state, expected)
    problems = [
        *_listed("missing", [name for name in expected if name not in state]),
        *_listed("unexpected", [name for name in state if name not in expected]),
        *_listed(
            "of another shape or type",
            [
                _mismatch(name, state[name], target)
                for name, target in expected.items()
                if name in state and not fits(state[name], target)
            ],
        ),
    ]
    if problems:
        raise InputError(
            f"the weights in {what} do not fit the architecture: {'; '.join(problems)}; name the right --arch."
        )
    network.load_state_dict({name: state[name].to(target.dtype) for name, target in expected.items()}, assign=assign)


def state_arrays(classifier: nn.Module) -> dict[str, NDArray[Any]]:
    """The tensors of a classifier as numpy arrays that share nothing with it, named as a checkpoint names them."""
    return {name: tensor.detach().cpu().clone().numpy() for name, tensor in classifier.state_dict().items()}


def network_state(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """The network's part of a checkpoint's tensors, without the prefix."""
    return {
        name.removeprefix(PREFIX): torch.from_numpy(array).clone()
        for name, array in tensors.items()
        if name.startswith(PREFIX)
    }


def _with_counters(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    counters = {name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith(COUNTER)}
    return {**{name: zero for name, zero in counters.items() if name not in state}, **state}


def fits(tensor: Tensor, target: Tensor) -> bool:
    """Whether a tensor may take the place of another: the same shape, and both floating, complex or whole numbers."""
    same_kind = tensor.is_floating_point() == target.is_floating_point() and tensor.is_complex() == target.is_complex()
    return tensor.shape == target.shape and same_kind


def _mismatch(name: str, tensor: Tensor, target: Tensor) -> str:
    return f"{name} ({describe(tensor)} where {describe(target)} is needed)"


def describe(tensor: Tensor) -> str:
    """Type and shape, for errors: `float32 [64, 3, 3, 3]`."""
    return f"{str(tensor.dtype).removeprefix('torch.')} [{', '.join(map(str, tensor.shape))}]"


def _listed(problem: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{problem}: {', '.join(names[:_SHOWN])}{more}"]
