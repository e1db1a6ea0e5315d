"""Frozen dataclasses of tensors whose first axis is the lane: taking samples out, putting them in, mixing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

S = TypeVar("S")


def put(whole: S, lanes: list[int], part: S) -> S:
    """A copy with the first samples of a part, or the one sample that it is, in some lanes."""

    def into(old: Tensor, new: Tensor) -> Tensor:
        new = new[: len(lanes)] if new.dim() == old.dim() else new.unsqueeze(0)
        return old.index_copy(0, torch.as_tensor(lanes, device=old.device), new)

    return _each(into, whole, part)


def gather(batch: S, index: Tensor) -> S:
    """The samples of some lanes, int64 [n]."""
    return _each(lambda tensor: tensor.index_select(0, index), batch)


def row_of(batch: S, lane: int) -> S:
    """A copy of one sample, without the axis of the lanes."""
    return _each(lambda tensor: tensor[lane].clone(), batch)


def merge(which: Tensor, one: S, other: S) -> S:
    """One's samples where bool [n] says so, the other's elsewhere."""
    return _each(lambda a, b: torch.where(which.view(-1, *[1] * (a.dim() - 1)), a, b), one, other)


def _each(function: Callable[..., Tensor], first: S, *others: S) -> S:
    """The dataclass of what the function makes of every field."""
    batch: Any = first
    names = [field.name for field in fields(batch)]
    made = {name: function(*(getattr(one, name) for one in (first, *others))) for name in names}
    result: S = replace(batch, **made)
    return result
