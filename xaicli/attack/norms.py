"""Geometry of the threat models: size, direction and projection of perturbations, per sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaicli.attack.plan import Draw

DEFAULT_EPS = {"linf": 8 / 255, "l2": 0.5}
TINY = 1e-15  # of a gradient's norm


def size(delta: Tensor, norm: str) -> Tensor:
    """The norm of each perturbation [n, C, H, W], as [n]."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


def direction(gradient: Tensor, norm: str, fallback: Callable[[], Tensor]) -> Tensor:
    """The steepest direction of unit size, a new tensor; where the gradient is zero everywhere, that of `fallback()`.

    For l2 this is g/norm(g) without an additive epsilon, so that a tiny gradient gives a full step.
    """
    length = size(gradient, norm)
    tiny = length < TINY
    if tiny.any():  # its square would vanish: scaled up first
        largest = size(gradient, "linf")
        dead = largest == 0
        if dead.any():
            gradient = torch.where(_rows(dead), fallback(), gradient)
            largest = size(gradient, "linf")
        gradient = torch.where(_rows(tiny), gradient / _rows(largest), gradient)
        length = size(gradient, norm)
    return gradient.sign() if norm == "linf" else gradient / _rows(length)


def project(point: Tensor, centre: Tensor, eps: float, norm: str) -> Tensor:
    """The point pulled back into the eps-ball around the centre and clipped to [0, 1]."""
    delta = point - centre
    if norm == "linf":
        return delta.clamp_(-eps, eps).add_(centre).clamp_(0, 1)
    length = size(delta, norm)
    shrink = torch.where(length > eps, eps / length, 1.0)
    # clipping each pixel toward the centre, which lies in the box, cannot make the perturbation larger
    return delta.mul_(_rows(shrink)).add_(centre).clamp_(0, 1)


def random_point(centre: Tensor, eps: float, norm: str, draw: Draw) -> Tensor:
    """A point drawn uniformly from the eps-ball, clipped to [0, 1]."""
    if norm == "linf":
        return (centre + eps * (2 * draw.uniform() - 1)).clamp(0, 1)
    return _along_noise(centre, eps, draw, power=1 / centre[0].numel())


def random_start(centre: Tensor, eps: float, norm: str, draw: Draw) -> Tensor:
    """Where an ascent begins: for linf a uniform point of the ball, for l2 a random direction and radius.

    A uniform point of a ball of many dimensions lies at its rim, from which an ascent first has to come back.
    """
    return random_point(centre, eps, norm, draw) if norm == "linf" else _along_noise(centre, eps, draw, power=1)


def _along_noise(centre: Tensor, eps: float, draw: Draw, *, power: float) -> Tensor:
    radius = eps * draw.share() ** power
    return project(centre + _rows(radius) * direction(draw.normal(), "l2", draw.normal), centre, eps, "l2")


def _rows(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
