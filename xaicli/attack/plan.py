"""What an attack is to the engine: how a sample starts, how it moves, and how often it may try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Start = Callable[["Draw", Tensor], Tensor]
Move = Callable[[Tensor, Tensor, Tensor, "Draw"], Tensor]


@dataclass(frozen=True)
class Draw:
    """Random numbers for some samples, each with its own generator: shaped like the images, or one share a sample."""

    normal: Callable[[], Tensor]
    uniform: Callable[[], Tensor]
    share: Callable[[], Tensor]  # uniform, [n]


@dataclass(frozen=True)
class Attack:
    """One attack as the engine runs it.

    start(draw, clean) gives the first point, move(point, clean, gradient, draw) the next one; gradient is that of the
    loss to be raised. `towards` names the class rule of a targeted attack, None otherwise.
    """

    norm: str
    eps: float | None
    steps: int
    restarts: int
    start: Start
    move: Move
    towards: str | None = None
