"""What a third party's method must keep: finite maps of the right shape, no exceptions, nothing of ours changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from xaicli.errors import PluginError, XaicliError
from xaicli.explain.block import Block
from xaicli.files.layout import SIGNALS
from xaicli.files.record import MAP_KINDS
from xaicli.methods import Method
from xaicli.run.plan import Queries


@contextmanager
def held_to_contract(method: Method, block: Block) -> Iterator[None]:
    """Within, a third party's code runs. Raises PluginError, naming it, for what it must not do; ours passes freely."""
    if method.plugin is None:
        yield
        return
    state, images = _copied(block), block.images.clone()
    try:
        yield
    except (XaicliError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:
        raise PluginError(f"'{method.name}' raised {type(error).__name__}: {error}; mend the method.") from error
    if not torch.equal(images, block.images):
        raise PluginError(f"'{method.name}' changed the images that it was given; mend the method.")
    after = _state(block)
    if after.keys() != state.keys() or not all(torch.equal(after[name], state[name]) for name in state):
        raise PluginError(f"'{method.name}' changed the model; mend the method.")
    if any(module.training or module._forward_hooks or module._backward_hooks for module in _modules(block)):
        raise PluginError(f"'{method.name}' left hooks or training mode behind in the model; mend the method.")


def check_needs(method: Method, queries: Queries) -> None:
    """Raise PluginError if a method asks for what no query answers."""
    if unknown := [need for need in method.queries if need not in queries.roots and need not in queries.functions]:
        known = ", ".join(sorted(queries.functions))
        raise PluginError(f"'{method.name}' asks for '{unknown[0]}', which nobody answers; ask for {known}.")


def check_kind(method: Method, kind: str, maps: bool, figures: Collection[str]) -> None:
    """Raise PluginError unless what a method returns (maps, figures) makes a store of the kind it declares."""
    fits = maps if kind in MAP_KINDS else not maps and SIGNALS.get(kind) in figures
    if not fits:
        kinds = ", ".join(name for name in SIGNALS if name != "images")
        raise PluginError(
            f"'{method.name}' does not return what a store of the kind '{kind}' holds: maps for "
            f"{' and '.join(MAP_KINDS)}, otherwise Found with the kind's own column; the kinds are {kinds}."
        )


def check_finite(method: Method, maps: Tensor, logits: Tensor) -> None:
    """Raise PluginError where a third party's map is not finite although the model's answer is."""
    if method.plugin is not None and not (maps.isfinite().flatten(1).all(1) | ~logits.isfinite().all(1)).all():
        raise PluginError(f"'{method.name}' returned maps that are not finite; mend the method.")


def _state(block: Block) -> dict[str, Tensor]:
    return dict(block.calls.classifier.state_dict())


def _copied(block: Block) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in _state(block).items()}


def _modules(block: Block) -> Iterator[torch.nn.Module]:
    return iter(block.calls.classifier.modules())
