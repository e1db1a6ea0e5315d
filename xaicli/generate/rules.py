"""How points move: normalised steps within a ball, Adam, and a sphere that closes in on a boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.attack.norms import direction, project, size
from xaicli.generate.plan import Task


@dataclass(frozen=True)
class Strides:
    """Normalised l2 steps of an image, clipped to [0, 1] and to a ball round its start (Santurkar et al., 2019).

    momentum: the share of its earlier direction that a walk keeps. fades: the number of steps over which they shrink
    to nothing; None for steps of one length.
    """

    stride: float
    radius: float | None = None
    momentum: float = 0.0
    fades: int | None = None

    def begin(self, point: Tensor) -> Tensor:
        """The direction so far, if any is kept."""
        return torch.zeros_like(point) if self.momentum else point.new_empty(len(point), 0)

    def move(
        self, point: Tensor, gradient: Tensor, value: Tensor, memory: Tensor, taken: Tensor, task: Task
    ) -> tuple[Tensor, Tensor]:
        """A step along the weighted gradient; none without one, since no direction then means anything."""
        gradient = gradient * task.weights
        if self.momentum:
            gradient = memory = self.momentum * memory + gradient
        moving = size(gradient, "linf") > 0
        along = torch.where(rows(moving), direction(gradient, "l2", lambda: torch.ones_like(point)), 0)
        left = 1.0 if self.fades is None else rows(1 - taken.to(point) / self.fades)
        moved = point + self.stride * left * along
        if self.radius is None:
            return moved.clamp(0, 1), memory
        return project(moved, task.start, self.radius, "l2"), memory


@dataclass(frozen=True)
class Adam:
    """Adam's steps (Kingma and Ba, 2015) for parameters of different scales, each with its own moments."""

    rate: float
    first: float = 0.9
    second: float = 0.999
    tiny: float = 1e-8

    def begin(self, point: Tensor) -> Tensor:
        """Both moments, [n, 2, ...]."""
        return point.new_zeros(len(point), 2, *point.shape[1:])

    def move(
        self, point: Tensor, gradient: Tensor, value: Tensor, memory: Tensor, taken: Tensor, task: Task
    ) -> tuple[Tensor, Tensor]:
        """One step up."""
        mean = torch.lerp(gradient, memory[:, 0], self.first)
        square = torch.lerp(gradient * gradient, memory[:, 1], self.second)
        count = (taken + 1).to(point).view(-1, *[1] * (point.dim() - 1))
        above, below = (-torch.expm1(count * math.log(rate)) for rate in (self.first, self.second))
        up = (mean / above) / ((square / below).sqrt() + self.tiny)
        return point + self.rate * up, torch.stack([mean, square], 1)


@dataclass(frozen=True)
class ClosingIn:
    """Normalised steps in a ball round the start that closes in on the boundary (after Rony et al., 2019).

    There is no ball until the walk is behind the boundary for the first time. Then the radius is a little less than the
    distance whenever it is behind, and a little more than it was whenever it is not: by `share` of it at first, and by
    less and less, as the steps get shorter, which have full length until then. threshold: the objective's value at the
    boundary.
    """

    stride: float
    steps: int
    threshold: float
    share: float = 0.15

    def begin(self, point: Tensor) -> Tensor:
        """The radius, [n, 1]."""
        return point.new_full((len(point), 1), float("inf"))

    def move(
        self, point: Tensor, gradient: Tensor, value: Tensor, memory: Tensor, taken: Tensor, task: Task
    ) -> tuple[Tensor, Tensor]:
        """A step along the gradient, put back into the ball and into [0, 1]."""
        left = 1 - taken.to(point) / self.steps
        distance = size(point - task.start, "l2")
        behind = value >= self.threshold
        radius = torch.where(behind, distance * (1 - self.share * left), memory[:, 0] * (1 + self.share * left))
        along = direction(gradient, "l2", lambda: torch.ones_like(point))
        length = torch.where(radius.isinf(), self.stride, self.stride * left)
        delta = point + rows(length) * along - task.start
        apart = size(delta, "l2")
        delta = delta * rows(torch.where(apart > radius, radius / apart, 1.0))
        return (task.start + delta).clamp(0, 1), radius.unsqueeze(1)


def rows(values: Tensor) -> Tensor:
    """One value a row, beside images."""
    return values.view(-1, 1, 1, 1)
