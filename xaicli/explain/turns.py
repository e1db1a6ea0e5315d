"""Many points a row, streamed: all rows at one turn, then all at the next.

So batches are full, a row's terms are added in one order however the batches are cut, and nothing grows with the turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xaicli.explain.block import Block
from xaicli.explain.quantity import score
from xaicli.run.calls import Answer, Calls

Points = Callable[[Tensor, Tensor], Tensor]  # rows and turns, both int64 [b] -> fresh images [b, C, H, W]


def gradients_in_turn(
    block: Block, target: Tensor, against: Tensor, turns: int, points: Points
) -> Iterator[tuple[int, slice, Tensor]]:
    """The quantity's gradients [m, C, H, W] at every point, with the turn and the rows that they belong to.

    target, against: int64 [n] of the rows asked about, which need not be all rows of the block.
    """

    def ask(images: Tensor, target: Tensor, against: Tensor) -> Answer:
        images = images.requires_grad_()
        value = score(block.calls.classifier(images), target, against, block.quantity)
        return torch.autograd.grad(value.sum(), images)

    return answers_in_turn(block.calls, target, against, turns, points, ask)


def answers_in_turn(
    calls: Calls, target: Tensor, against: Tensor, turns: int, points: Points, ask: Callable[..., Answer]
) -> Iterator[tuple[int, slice, Tensor]]:
    """The same for another question: `ask(images, target, against)` answers with one tensor [b, ...]."""
    count = len(target)

    def build(items: Tensor) -> Answer:
        rows = items % count
        return points(rows, items // count), target[rows], against[rows]

    for items, (part,) in calls.over(count * turns, build, ask):
        first, done = int(items[0]), 0
        while done < len(part):
            turn, row = divmod(first + done, count)
            end = min(row + len(part) - done, count)
            yield turn, slice(row, end), part[done : done + end - row]
            done += end - row


def gradients_along(
    block: Block, target: Tensor, against: Tensor, turns: int, points: Callable[[Tensor], Tensor]
) -> Iterator[tuple[int, slice, Tensor]]:
    """The same for rows that walk: `points(rows)` is where they stand, and moves with each gradient handed out."""
    # a batch may reach into the next turn, but must not hold two turns of one row
    together = turns if len(target) >= block.calls.batch_size else 1
    for begin in range(0, turns, together):
        parts = gradients_in_turn(block, target, against, together, lambda rows, _turns: points(rows))
        for turn, rows, part in parts:
            yield begin + turn, rows, part


@dataclass
class Drawn:
    """Numbers that belong to a row and a turn, drawn when a batch first needs them and forgotten once it is past."""

    draw: Callable[[int], Tensor]  # turn -> [n, ...]
    _held: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, rows: Tensor, turns: Tensor) -> Tensor:
        """The numbers of these rows at these turns, which never go back: [b, ...]."""
        wanted = range(int(turns[0]), int(turns[-1]) + 1)
        self._held = {turn: self._held[turn] if turn in self._held else self.draw(turn) for turn in wanted}
        return torch.cat([self._held[turn][rows[turns == turn]] for turn in wanted])


class Moments:
    """Mean and spread of terms that come one after the other (Welford, 1962): no term is kept."""

    def __init__(self, like: Tensor, terms: int) -> None:
        self.terms = terms
        self.mean = torch.zeros_like(like)
        self._squares = torch.zeros_like(like)  # of the deviations from the mean

    def add(self, turn: int, rows: slice, part: Tensor) -> None:
        """The term number `turn` of some rows."""
        mean = self.mean[rows]
        before = part - mean
        mean.add_(before, alpha=1 / (turn + 1))
        self._squares[rows].addcmul_(before, part - mean)

    @property
    def variance(self) -> Tensor:
        """The terms' mean squared deviation from their mean."""
        return self._squares / self.terms

    @property
    def deviation(self) -> Tensor:
        """The terms' standard deviation, as of a sample; NaN for a single term."""
        if self.terms == 1:
            return torch.full_like(self.mean, float("nan"))
        return (self._squares / (self.terms - 1)).sqrt()

    @property
    def standard_error(self) -> Tensor:
        """The standard error of the mean, from the unbiased variance; NaN for a single term."""
        if self.terms == 1:
            return torch.full_like(self.mean, float("nan"))
        return (self._squares / (self.terms - 1) / self.terms).sqrt()
