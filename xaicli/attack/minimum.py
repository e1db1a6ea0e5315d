"""Attacks without a radius: the smallest perturbation that breaks a sample, by walks whose ball grows and shrinks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaicli.attack.loss import Loss, away, margin
from xaicli.attack.norms import direction, project_l1, size
from xaicli.attack.plan import Ask, Samples, Seen, State, Usual
from xaicli.signatures import Count, Positive, Share

DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}
TINY = 1e-12
LEAST_STRIDE = 0.01  # the last step of a walk, of its first
LEAST_GAMMA = 1e-3  # by how much FMN's ball changes at the end


@dataclass(frozen=True)
class Walked(State):
    """A walk whose ball changes its radius; but for the point all is one value a sample."""

    radius: Tensor
    smallest: Tensor  # size of the smallest breaking perturbation, infinite before there is one
    walked: Tensor  # int64, steps


@dataclass(frozen=True)
class DecoupledDirection(Usual):
    """DDN: the gradient gives the direction, success and failure the length (Rony et al., 2019)."""

    steps: int
    gamma: float
    first: float
    norm: str = "l2"
    eps: float | None = None
    loss: Loss = away

    def begin(self, samples: Samples) -> State:
        """At the clean image, with the first radius."""
        return _start(samples, self.first)

    def step(self, samples: Samples, state: Walked, ask: Ask) -> tuple[State, Seen]:
        """Go along the gradient, then to a sphere that is smaller after a break and larger otherwise."""
        asked = ask.gradient(state.point, self.loss, samples)
        broken = asked.logits.argmax(1) != samples.labels
        radius = state.radius * torch.where(broken, 1 - self.gamma, 1 + self.gamma)
        stride = _annealed(1.0, LEAST_STRIDE, state.walked, self.steps).to(radius)
        moved = state.point + _rows(stride) * direction(asked.gradient, "l2", samples.draw.normal) - samples.clean
        moved = moved * _rows(radius / size(moved, "l2").clamp_min(TINY))
        seen = Seen(state.point, asked.logits, asked.loss)
        return Walked((samples.clean + moved).clamp(0, 1), radius, state.smallest, state.walked + 1), seen


@dataclass(frozen=True)
class FastMinimum(Usual):
    """FMN: steps in a ball whose radius follows an estimate of the distance to the border (Pintor et al., 2021)."""

    norm: str
    steps: int
    stride: float
    gamma: float
    eps: float | None = None
    loss: Loss = margin

    def begin(self, samples: Samples) -> State:
        """At the clean image, in a ball without bounds."""
        return _start(samples, math.inf)

    def step(self, samples: Samples, state: Walked, ask: Ask) -> tuple[State, Seen]:
        """Judge at which radius the border lies, and go a step within it."""
        asked = ask.gradient(state.point, self.loss, samples)
        broken = asked.logits.argmax(1) != samples.labels
        gone = size(state.point - samples.clean, self.norm)
        smallest = torch.where(broken, torch.minimum(state.smallest, gone), state.smallest)
        gamma = _annealed(self.gamma, LEAST_GAMMA, state.walked, self.steps).to(gone)
        ahead = gone + asked.loss.abs() / size(asked.gradient, DUAL[self.norm]).clamp_min(TINY)
        # before a break beyond the estimate: at it, walks come to rest just before the border
        larger = torch.where(smallest.isfinite(), state.radius * (1 + gamma), ahead * (1 + self.gamma))
        radius = torch.where(broken, torch.minimum(state.radius * (1 - gamma), smallest), larger)
        stride = _annealed(self.stride, LEAST_STRIDE * self.stride, state.walked, self.steps).to(gone)
        moved = state.point + _rows(stride) * direction(asked.gradient, "l2", samples.draw.normal)
        point = _into_ball(moved, samples.clean, radius, self.norm)
        return Walked(point, radius, smallest, state.walked + 1), Seen(state.point, asked.logits, asked.loss)


def ddn(*, steps: Count = 100, gamma: Share = 0.05, first: Positive = 1.0) -> DecoupledDirection:
    """The smallest l2 perturbation, its direction and its length apart: DDN (Rony et al., 2019).

    In pixel values of [0, 1]; it has no radius. gamma: by which share the length changes in a step, and so how near the
    smallest it comes. first: the length it begins with.
    """
    return DecoupledDirection(steps, gamma, first, minimise=True)


def fmn(
    *,
    norm: Literal["linf", "l2", "l1"] = "linf",
    steps: Count = 100,
    stride: Positive = 1.0,
    gamma: Share = 0.05,
) -> FastMinimum:
    """The smallest perturbation in a norm, in a ball that follows the border: FMN (Pintor et al., 2021).

    In pixel values of [0, 1]; it has no radius. stride: the first step along the gradient, in l2; the last is a
    hundredth of it. gamma: by which share the radius changes in the first step, in the last by a thousandth.
    """
    return FastMinimum(norm, steps, stride, gamma, minimise=True)


def _start(samples: Samples, radius: float) -> Walked:
    none = torch.zeros_like(samples.labels)
    number = none.to(samples.clean)
    return Walked(samples.clean, number + radius, number + math.inf, none)


def _annealed(first: float, last: float, walked: Tensor, steps: int) -> Tensor:
    """From the first value to the last along half a cosine, float64 [n]."""
    return last + (first - last) * (1 + torch.cos(math.pi * walked.double() / steps)) / 2


def _into_ball(point: Tensor, centre: Tensor, radius: Tensor, norm: str) -> Tensor:
    """Projection onto balls of several radii and the box."""
    if norm == "l1":
        return project_l1(point, centre, radius.double())
    delta = point - centre
    if norm == "linf":
        delta = delta.clamp(-_rows(radius), _rows(radius))
    else:
        delta = delta * _rows((radius / size(delta, "l2").clamp_min(TINY)).clamp_max(1))
    return (centre + delta).clamp(0, 1)


def _rows(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
