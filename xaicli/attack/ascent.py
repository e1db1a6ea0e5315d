"""What both forms of Auto-PGD remember: the best point of an ascent, and the gradient there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from xaicli.attack.plan import Asked, State, choose

A = TypeVar("A", bound="Ascent")


@dataclass(frozen=True)
class Ascent(State):
    """An ascent that can go back to its best point."""

    best: Tensor  # the point of highest loss, [n, C, H, W]
    gradient: Tensor  # there, [n, C, H, W]
    loss: Tensor  # there, [n]


def risen(state: A, asked: Asked) -> A:
    """The state after the answer at its point, which is the best where the loss is higher than before."""
    better = asked.loss > state.loss
    return replace(
        state,
        best=choose(better, state.point, state.best),
        gradient=choose(better, asked.gradient, state.gradient),
        loss=torch.where(better, asked.loss, state.loss),
    )
