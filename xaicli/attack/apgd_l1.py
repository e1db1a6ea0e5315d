"""Auto-PGD in l1: sparse steps, first in larger balls; as in the authors' code."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaicli.attack.ascent import Ascent, risen
from xaicli.attack.lanes import merge
from xaicli.attack.loss import Loss
from xaicli.attack.norms import project_l1
from xaicli.attack.plan import Ask, Samples, Seen, State, Usual, choose

BALLS = (3.0, 2.0, 1.0)
SHARES = (0.3, 0.3, 0.4)
"""The search goes through balls of these many radii, for these shares of all steps."""
STRETCH = 0.04  # of a ball's steps, from checkpoint to checkpoint
DENSER = 1.5  # than the next step is the best perturbation
SHORTER = 1.5
TINY = 1e-10
SHORTEST = 10.0  # times shorter than the first step
SPARSER = 0.95  # the share of values below which a perturbation has become sparser


@dataclass(frozen=True)
class Descent(Ascent):
    """A search through shrinking balls. All but the points and the gradient are one value a sample."""

    ball: Tensor  # int64, its number
    walked: Tensor  # int64, steps in it
    stride: Tensor
    values: Tensor  # that the best perturbation changed at the last checkpoint
    share: Tensor  # of all values that a step moves


@dataclass(frozen=True)
class SparseAutoPGD(Usual):
    """Auto-PGD in l1 (Croce and Hein, 2021)."""

    eps: float
    iterations: int
    loss: Loss
    restarts: int = 1  # or other classes in turn, if it has targets
    norm: str = "l1"

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Steps in every ball."""
        first, second, _ = (math.ceil(share * self.iterations) for share in SHARES)
        return first, second, self.iterations - first - second

    @property
    def steps(self) -> int:
        """Points asked about but for the last; every ball has one more than steps."""
        return self.iterations + len(BALLS) - 1

    def tries(self, classes: int) -> int:
        """Restarts, or targets."""
        return self.restarts if self.towards is None else min(self.restarts, classes - 1)

    def begin(self, samples: Samples) -> State:
        """At Gaussian noise, pulled into the largest ball."""
        start = project_l1(samples.clean + samples.draw.normal(), samples.clean, BALLS[0] * self.eps)
        none = torch.zeros_like(samples.labels)
        return self._enter(samples.clean, samples.begin_at(start), none)

    def _enter(self, clean: Tensor, point: Tensor, ball: Tensor) -> Descent:
        values = (point != clean).flatten(1).sum(1).to(clean)
        return Descent(
            point=point,
            best=point,
            gradient=torch.zeros_like(point),
            loss=torch.full_like(values, -torch.inf),
            ball=ball,
            walked=torch.zeros_like(ball),
            stride=self._radius(ball).to(clean),
            values=values,
            share=values / point[0].numel() / DENSER,
        )

    def step(self, samples: Samples, state: Descent, ask: Ask) -> tuple[State, Seen]:
        """Ask for the gradient, perhaps go back to the best point, and go on, at its end into the next ball."""
        asked = ask.gradient(state.point, self.loss, samples)
        climbed, back = self._checkpoint(risen(state, asked), samples.clean)
        point = choose(back, climbed.best, state.point)
        gradient = choose(back, climbed.gradient, asked.gradient)
        moved = point + climbed.stride.view(-1, 1, 1, 1) * _sparse(gradient, climbed.share)
        moved = project_l1(moved, samples.clean, self._radius(state.ball))
        walking = replace(climbed, point=moved, walked=state.walked + 1)
        seen = Seen(state.point, asked.logits, asked.loss, state.ball == len(BALLS) - 1)
        lengths = torch.tensor(self.lengths, device=state.ball.device)
        done = (state.walked == lengths[state.ball]) & (state.ball < len(BALLS) - 1)
        if not done.any():
            return walking, seen
        following = (state.ball + 1).clamp_max(len(BALLS) - 1)
        start = project_l1(climbed.best, samples.clean, self._radius(following))
        entered = self._enter(samples.clean, start, following)
        return merge(done, entered, walking), seen

    def _checkpoint(self, state: Descent, clean: Tensor) -> tuple[Descent, Tensor]:
        """Shorten the step, unless the best perturbation has become sparser: then go back to it with the first step.

        Returns the state and which samples go back, bool [n].
        """
        lengths = torch.tensor(self.lengths, device=state.ball.device)
        stretch = (STRETCH * lengths).long().clamp_min(1)[state.ball]
        due = (state.walked > 0) & (state.walked % stretch == 0)
        values = (state.best != clean).flatten(1).sum(1).to(state.values)
        sparser = values / state.values < SPARSER
        full = self._radius(state.ball).to(state.stride)
        stride = torch.where(sparser, full, (state.stride / SHORTER).maximum(full / SHORTEST))
        after = replace(
            state,
            stride=torch.where(due, stride, state.stride),
            values=torch.where(due, values, state.values),
            share=torch.where(due, values / clean[0].numel() / DENSER, state.share),
        )
        return after, due & sparser

    def _radius(self, ball: Tensor) -> Tensor:
        return self.eps * torch.tensor(BALLS, device=ball.device, dtype=torch.float64)[ball]


def _sparse(gradient: Tensor, share: Tensor) -> Tensor:
    """The signs of each sample's largest gradient values, a share [n] of all, over their number."""
    size = gradient.flatten(1).abs()
    count = size.shape[1]
    rank = ((1 - share) * count).long().clamp(0, count - 1)
    threshold = size.sort(dim=1).values.gather(1, rank.unsqueeze(1))
    signs = torch.where(size >= threshold, gradient.flatten(1).sign(), 0.0)
    return (signs / (signs.abs().sum(1, keepdim=True) + TINY)).view_as(gradient)
