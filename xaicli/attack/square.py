"""Square: random search with squares that shrink, which asks for logits only; as in the authors' code."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from xaicli.attack.loss import Loss, margin
from xaicli.attack.norms import project, size
from xaicli.attack.plan import Ask, Samples, Seen, State, Turns, Usual, choose
from xaicli.attack.radii import at_radii
from xaicli.signatures import Count, Radii, Share

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which a square has half the area that it had before."""
TINY = 1e-12
TILES = 5  # patterns along a side at the start
SMALLEST = 3  # pixels along a pattern's side
INSIDE = 1 - 1e-6  # of the radius, for l1
GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)  # of SplitMix64, as a signed number
MIX = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))


@dataclass(frozen=True)
class Squares(State):
    """A random search; `point` is the proposal that is asked about next."""

    best: Tensor  # [n, C, H, W]
    loss: Tensor  # [n], there
    asked: Tensor  # int64 [n], questions so far
    key: Tensor  # int64 [n], of the sample's random numbers


@dataclass(frozen=True)
class SquareSearch(Usual):
    """Square in linf, l2 or l1, with the margin as its loss (Andriushchenko et al., 2020)."""

    norm: str
    eps: float
    steps: int
    share: float = 0.8  # of the image that the first squares cover
    loss: Loss = margin

    def begin(self, samples: Samples) -> State:
        """At vertical stripes for linf, else at a grid of patterns."""
        clean = samples.clean
        start = self._stripes(samples) if self.norm == "linf" else self._grid(samples)
        parts = (samples.numbers(3) * 2**24).long()
        key = parts[:, 0] << 40 ^ parts[:, 1] << 16 ^ parts[:, 2]
        point = samples.begin_at(start)
        none = torch.zeros_like(key)
        return Squares(point, clean, torch.full_like(none, -math.inf, dtype=clean.dtype), none, key)

    def step(self, samples: Samples, state: Squares, ask: Ask) -> tuple[State, Seen]:
        """Ask about the proposals, keep the first that is better or breaks the sample, and make others."""
        logits = ask.logits(state.point)
        loss, _ = self.loss(logits, samples.labels, samples.aim)
        better = (loss > state.loss) | (logits.argmax(1) != samples.labels)
        steps, found = torch.ones_like(state.asked), Seen(state.point, logits, loss)
        if samples.turns is not None:
            better, winner, steps = self._first(better, state.asked, samples.turns)
            found = Seen(state.point[winner], logits[winner], loss[winner], steps=steps)
        best = choose(better, found.point, state.best)
        after = Squares(state.point, best, torch.where(better, found.loss, state.loss), state.asked + steps, state.key)
        return self.ahead(samples, after), found

    def ahead(self, samples: Samples, state: Squares) -> Squares:
        """Every lane's next proposal, from the best point so far; the start is given."""
        turn = 0 if samples.turns is None else samples.turns.turn
        propose = self._square if self.norm == "linf" else self._patterns
        proposed = propose(state.best, samples.clean, state.asked + turn - 1, state.key)
        later = state.asked + turn > 0
        return replace(state, point=proposed if later.all() else choose(later, proposed, state.point))

    def _first(self, better: Tensor, asked: Tensor, turns: Turns) -> tuple[Tensor, Tensor, Tensor]:
        """Whether any proposal for a sample is better, the lane of the first that is, and the steps up to it."""
        never = len(better)
        turn = torch.where(better & (asked + turns.turn < self.steps), turns.turn, never)
        first = torch.full_like(turn, never).scatter_reduce(0, turns.leader, turn, "amin")[turns.leader]
        lane = torch.where(turn == first, torch.arange(never, device=turn.device), never)
        winner = torch.full_like(turn, never).scatter_reduce(0, turns.leader, lane, "amin")[turns.leader]
        found = first < never
        steps = torch.where(found, first + 1, torch.minimum(turns.count, self.steps - asked))
        return found, torch.where(found, winner, turns.leader), steps

    def _stripes(self, samples: Samples) -> Tensor:
        count, channels, _, width = samples.clean.shape
        signs = _signs(samples.numbers(channels * width)).view(count, channels, 1, width)
        return (samples.clean + self.eps * signs).clamp(0, 1)

    def _square(self, best: Tensor, clean: Tensor, asked: Tensor, key: Tensor) -> Tensor:
        """Another colour in a random square, in every channel at one of the two ends of the ball."""
        channels, height, width = clean.shape[1:]
        numbers = _uniform(key, asked, 2 + channels).to(clean)
        side = self._side(asked, height, width)
        window = _window(numbers[:, 0], numbers[:, 1], side, height, width)
        change = 2 * self.eps * _signs(numbers[:, 2:]).view(-1, channels, 1, 1)
        return project(torch.where(window, best + change, best), clean, self.eps, "linf")

    def _grid(self, samples: Samples) -> Tensor:
        clean = samples.clean
        count, channels, height, width = clean.shape
        side = max(height // TILES, 1)
        first = max((height - side * TILES) // 2, 0)
        tops, lefts = (range(first, first + side * (length // side), side) for length in (height, width))
        numbers = samples.numbers(len(tops) * len(lefts) * (1 + channels)).to(clean)
        pattern = torch.stack([_pattern(side, self.norm), _pattern(side, self.norm).T]).to(clean)
        delta = torch.zeros_like(clean)
        places = [(top, left) for top in tops for left in lefts]
        for (top, left), drawn in zip(places, numbers.view(count, len(places), -1).unbind(1), strict=True):
            turned = pattern[(drawn[:, 0] > 0.5).long()].unsqueeze(1)
            part = delta[:, :, top : top + side, left : left + side]
            part += (turned * _signs(drawn[:, 1:]).view(-1, channels, 1, 1))[:, :, : part.shape[2], : part.shape[3]]
        return self._scaled(delta, clean)

    def _patterns(self, best: Tensor, clean: Tensor, asked: Tensor, key: Tensor) -> Tensor:
        """What two random windows hold of the perturbation goes to one of them, mixed with a new pattern."""
        channels, height, width = clean.shape[1:]
        numbers = _uniform(key, asked, 5 + channels).to(clean)
        side = self._side(asked, height, width)
        window = _window(numbers[:, 0], numbers[:, 1], side, height, width)
        other = _window(numbers[:, 2], numbers[:, 3], side, height, width)
        delta = best - clean
        zero = torch.zeros_like(delta)
        old = torch.where(window, delta, zero)
        mixed = self._pattern_at(numbers, asked, clean) * _signs(numbers[:, 5:]).view(-1, channels, 1, 1)
        mixed = torch.where(window, mixed + old / (TINY + self._each(old)), zero)
        whole = size(delta, self.norm).view(-1, 1, 1, 1)
        held = self._each(torch.where(window | other, delta, zero))
        if self.norm == "l2":
            budget = ((self.eps**2 - whole**2).clamp_min(0) / channels + held**2).sqrt()
        else:
            budget = ((self.eps - whole).clamp_min(0) / channels + held) * channels
        mixed = mixed / (TINY + self._each(mixed)) * budget
        return self._scaled(torch.where(window, mixed, torch.where(other, zero, delta)), clean)

    def _pattern_at(self, numbers: Tensor, asked: Tensor, clean: Tensor) -> Tensor:
        """Every sample's pattern at the place of its window, [n, 1, H, W]; anything outside of it."""
        height, width = clean.shape[2:]
        table = _tables(self.share, self.norm, height, width).to(clean)
        side = self._side(asked, height, width)
        top, left = _corner(numbers[:, 0], side, height), _corner(numbers[:, 1], side, width)
        down = (torch.arange(height, device=clean.device) - top.unsqueeze(1)).clamp(0, table.shape[-1] - 1)
        right = (torch.arange(width, device=clean.device) - left.unsqueeze(1)).clamp(0, table.shape[-1] - 1)
        turned = numbers[:, 4] > 0.5
        rows, columns = down.unsqueeze(2), right.unsqueeze(1)
        flip = turned.view(-1, 1, 1)
        level = _level(asked).view(-1, 1, 1)
        return table[level, torch.where(flip, columns, rows), torch.where(flip, rows, columns)].unsqueeze(1)

    def _scaled(self, delta: Tensor, clean: Tensor) -> Tensor:
        """The perturbation at the rim of the ball, in the box."""
        if self.norm == "l1":
            return project(clean + delta, clean, self.eps * INSIDE, "l1")
        length = size(delta, "l2").view(-1, 1, 1, 1)
        return (clean + delta / (length + TINY) * self.eps).clamp(0, 1)

    def _each(self, delta: Tensor) -> Tensor:
        """The norm of every channel, [n, C, 1, 1]."""
        if self.norm == "l1":
            return delta.abs().sum((2, 3), keepdim=True)
        return delta.square().sum((2, 3), keepdim=True).sqrt()

    def _side(self, asked: Tensor, height: int, width: int) -> Tensor:
        sides = torch.tensor(_sides(self.share, self.norm, height, width), device=asked.device)
        return sides[_level(asked)]


def square(
    *,
    norm: Literal["linf", "l2", "l1"] = "linf",
    eps: Radii | None = None,
    queries: Count = 5000,
    share: Share = 0.8,
) -> SquareSearch:
    """Random search with shrinking squares, which needs no gradient (Andriushchenko et al., 2020).

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf, 0.5 for l2 and 12 for l1; several give a security
    curve. queries: proposals for each sample. share: of the image that the first squares cover.
    """
    return at_radii(norm, eps, lambda radius: SquareSearch(norm, radius, queries, share))


def _level(asked: Tensor) -> Tensor:
    return (asked.unsqueeze(1) > torch.tensor(HALVINGS, device=asked.device)).sum(1)


@cache
def _sides(share: float, norm: str, height: int, width: int) -> tuple[int, ...]:
    """The side of the squares after every halving of their area."""
    sides = [max(round(math.sqrt(share / 2**level * height * width)), 1) for level in range(len(HALVINGS) + 1)]
    if norm != "linf":
        sides = [max(side, SMALLEST) for side in sides]
        sides = [side + (side % 2 == 0) for side in sides]
    return tuple(min(side, height, width) for side in sides)


@cache
def _tables(share: float, norm: str, height: int, width: int) -> Tensor:
    """The patterns of all sides, [levels, S, S], each in the upper left corner."""
    sides = _sides(share, norm, height, width)
    table = torch.zeros(len(sides), max(sides), max(sides), dtype=torch.float64)
    for level, side in enumerate(sides):
        table[level, :side, :side] = _pattern(side, norm)
    return table


@cache
def _pattern(side: int, norm: str) -> Tensor:
    """Two mounds side by side, one up and one down, of norm 1, [side, side]."""
    upper = _mound(side // 2, side, norm)
    whole = torch.cat([upper, -_mound(side - side // 2, side, norm)])
    return whole / (whole.norm() if norm == "l2" else whole.abs().sum())


def _mound(height: int, width: int, norm: str) -> Tensor:
    """A sum of growing rectangles about the middle, ever flatter, of norm 1."""
    mound = torch.zeros(height, width, dtype=torch.float64)
    top, left = height // 2, width // 2
    for number in range(max(top, left) + 1):
        flat = (number + 1.0) ** (-2 if norm == "l2" else -4)
        mound[max(top - number, 0) : top + number + 1, max(left - number, 0) : left + number + 1] += flat
    return mound / (mound.norm() if norm == "l2" else mound.sum())


def _window(down: Tensor, right: Tensor, side: Tensor, height: int, width: int) -> Tensor:
    """A mask [n, 1, H, W] of squares at places that are given as shares [n] of where they may begin."""
    rows = _covered(_corner(down, side, height), side, height)
    columns = _covered(_corner(right, side, width), side, width)
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def _corner(share: Tensor, side: Tensor, length: int) -> Tensor:
    """The first pixel; like the authors', squares never reach the last one unless they fill the image."""
    return (share * (length - side)).long()


def _covered(first: Tensor, side: Tensor, length: int) -> Tensor:
    places = torch.arange(length, device=first.device)
    return (places >= first.unsqueeze(1)) & (places < (first + side).unsqueeze(1))


def _signs(numbers: Tensor) -> Tensor:
    return torch.where(numbers < 0.5, -1.0, 1.0).to(numbers)


def _uniform(key: Tensor, step: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1), float64 [n, count], of every sample's step: SplitMix64 (Steele et al., 2014)."""
    mixed = _mixed(key + (step + 1) * GOLDEN).unsqueeze(1)
    mixed = _mixed(mixed + torch.arange(1, count + 1, device=key.device) * GOLDEN)
    return (mixed >> 11 & (1 << 53) - 1).double() / 2**53


def _mixed(state: Tensor) -> Tensor:
    state = (state ^ (state >> 30 & (1 << 34) - 1)) * MIX[0]
    state = (state ^ (state >> 27 & (1 << 37) - 1)) * MIX[1]
    return state ^ (state >> 31 & (1 << 33) - 1)
