"""Foreign tensors under a network's own names: by name, the usual spellings included, or by order and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from xaicli.errors import InputError
from xaicli.models.state import COUNTER, describe, fits

Match = Literal["name", "order"]

_SPELLINGS = (("shortcut.", "downsample."), ("linear.", "fc."))
"""The ResNets for CIFAR in MadryLab/robustness and RobustBench, and ours, which are torchvision's."""

_ROLES = ("weight", "bias", "running_mean", "running_var")
"""Last parts of names that mean the same in every library; a BatchNorm has four tensors of one shape."""


def match_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], how: Match, what: str
) -> dict[str, Tensor]:
    """The state renamed; by name, a state that does not fit is handed on as near as it came, for `fit_state` to judge.

    expected: the network's state. what: the file's name for errors. Raises InputError when tensors cannot be matched by
    order, naming the first that differs, and when they could be but the names differ.
    """
    if how == "order":
        return _by_order(state, expected, what)
    nearest = _nearest(state, expected)
    if set(_counted(expected)) != set(_counted(nearest)):
        try:
            _by_order(nearest, expected, what)
        except InputError:
            return nearest
        stranger = next((name for name in nearest if name not in expected), "")
        raise InputError(
            f"the weights in {what} have other names than the network's ('{stranger}'), but its number, order and "
            "shapes; add --match order if this is their --arch."
        )
    return nearest


def class_count(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int | None:
    """The classes of a state by the shapes that differ from the same network for one class; None where none does.

    The order of the names does not matter: `.safetensors` does not keep it.
    """
    named = _nearest(state, expected)
    pairs = [(named[name].shape, target.shape) for name, target in expected.items() if name in named]
    sizes = {int(own[0]) for own, one in pairs if own != one and len(own) == len(one) and own[1:] == one[1:]}
    return sizes.pop() if len(sizes) == 1 else None


def _nearest(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The spelling of a state that has most names in common with the network."""
    return max(_spelled(state, expected), key=lambda renamed: len(expected.keys() & renamed.keys()))


def _spelled(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The state as it is, then without each first part that all names share (`model.`), in the network's spelling."""
    found = [dict(state)]
    while len(firsts := {name.partition(".")[:2] for name in found[-1]}) == 1 and "." in firsts.pop():
        found.append({name.partition(".")[2]: tensor for name, tensor in found[-1].items()})
    return [{_respell(name, expected): tensor for name, tensor in each.items()} for each in found]


def _respell(name: str, expected: Mapping[str, Tensor]) -> str:
    for theirs, ours in _SPELLINGS:
        if name not in expected and name.replace(theirs, ours) in expected:
            return name.replace(theirs, ours)
    return name


def _by_order(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """One to one in order; BatchNorm's counters are left out where one side lacks them."""
    theirs, ours = _counted(state), _counted(expected)
    for number, (name, target) in enumerate(zip(theirs, ours, strict=False), start=1):
        tensor, wanted = state[name], expected[target]
        roles = [text.rpartition(".")[2] for text in (name, target)]
        if not fits(tensor, wanted) or (roles[0] != roles[1] and all(role in _ROLES for role in roles)):
            raise InputError(
                f"the weights in {what} do not fit the architecture in order: tensor {number} is {name} "
                f"({describe(tensor)}) where the network has {target} ({describe(wanted)}); name the right --arch."
            )
    if len(theirs) != len(ours):
        raise InputError(
            f"the weights in {what} do not fit the architecture in order: they are {len(theirs)} tensors where the "
            f"network has {len(ours)}; name the right --arch."
        )
    counters = [[name for name in side if name.endswith(COUNTER)] for side in (state, expected)]
    if len(counters[0]) == len(counters[1]):
        theirs, ours = theirs + counters[0], ours + counters[1]
    return {target: state[name] for name, target in zip(theirs, ours, strict=True)}


def _counted(state: Mapping[str, Tensor]) -> list[str]:
    return [name for name in state if not name.endswith(COUNTER)]
