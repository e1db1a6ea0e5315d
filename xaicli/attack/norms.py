"""Geometry of the threat models: size, direction and projection of perturbations, per sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaicli.attack.plan import Draw

DEFAULT_EPS = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
TINY = 1e-15  # of a gradient's norm


def size(delta: Tensor, norm: str) -> Tensor:
    """The norm of each perturbation [n, C, H, W], as [n]."""
    flat = delta.flatten(1)
    if norm == "l1":
        return flat.abs().sum(1)
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


def project(point: Tensor, centre: Tensor, eps: float | Tensor, norm: str) -> Tensor:
    """The nearest point of the eps-ball around the centre clipped to [0, 1]; for l1 of the part of it in the box.

    eps: one, or one a sample, [n].
    """
    delta = point - centre
    if norm == "l1":
        return project_l1(point, centre, eps)
    if norm == "linf":
        if isinstance(eps, Tensor):
            return delta.clamp_(-_rows(eps), _rows(eps)).add_(centre).clamp_(0, 1)
        return delta.clamp_(-eps, eps).add_(centre).clamp_(0, 1)
    length = size(delta, norm)
    shrink = torch.where(length > eps, eps / length, 1.0)
    # clipping each pixel toward the centre, which lies in the box, cannot make the perturbation larger
    return delta.mul_(_rows(shrink)).add_(centre).clamp_(0, 1)


def project_l1(point: Tensor, centre: Tensor, eps: float | Tensor) -> Tensor:
    """The nearest point that is both in the l1-ball and in [0, 1] (Croce and Hein, 2021); eps: one, or one a sample.

    Every change shrinks by the same amount, down to zero, and none exceeds its room in the box. The sum of what is left
    is piecewise linear in that amount, with two kinks a value.
    """
    delta = point - centre
    flat, middle = delta.flatten(1).double(), centre.flatten(1).double()
    length = flat.abs()
    room = torch.where(flat > 0, 1 - middle, middle)
    held = torch.minimum(length, room)
    excess = held.sum(1) - eps
    kinks, order = torch.cat([length - held, length], 1).sort(dim=1)
    falling = torch.where(order < length.shape[1], 1.0, -1.0).to(flat).cumsum(1)  # values that shrink behind a kink
    fallen = (falling[:, :-1] * kinks.diff(dim=1)).cumsum(1)  # up to each kink but the first
    behind = (fallen < excess.unsqueeze(1)).sum(1, keepdim=True).clamp_max(fallen.shape[1] - 1)
    # from the kink before: nothing has fallen at the first one, whose own amount is what all can lose for nothing
    before = torch.cat([torch.zeros_like(fallen[:, :1]), fallen], 1).gather(1, behind).squeeze(1)
    rate = falling.gather(1, behind).squeeze(1).clamp_min(1)
    amount = kinks.gather(1, behind).squeeze(1) + (excess - before) / rate
    shrunk = torch.minimum((length - amount.unsqueeze(1)).clamp_min(0), room)
    shrunk = shrunk * (eps / shrunk.sum(1).clamp_min(TINY)).clamp_max(1).unsqueeze(1)  # of rounding
    kept = torch.where(excess.unsqueeze(1) > 0, shrunk, held)
    return (flat.sign() * kept).view_as(delta).to(delta).add_(centre).clamp_(0, 1)


def sparse(gradient: Tensor, point: Tensor, share: float, fallback: Callable[[], Tensor]) -> Tensor:
    """The signs of each sample's largest gradient values, a share of them but at least one, over their number.

    This is a step of size one in l1. Values that could only move out of [0, 1] do not take part; where nothing is left,
    the fallback takes the gradient's place.
    """
    able = torch.where(gradient > 0, point < 1, point > 0)
    free = torch.where(able, gradient, 0.0)
    dead = size(free, "linf") == 0
    if dead.any():
        free = torch.where(_rows(dead), fallback(), free)
    values = free.flatten(1).abs()
    count = max(int(share * values.shape[1]), 1)
    threshold = values.topk(count, dim=1).values[:, -1:]
    chosen = torch.where(values >= threshold, free.flatten(1).sign(), 0.0)
    return (chosen / chosen.abs().sum(1, keepdim=True)).view_as(gradient)


def random_point(centre: Tensor, eps: float, norm: str, draw: Draw) -> Tensor:
    """A point drawn uniformly from the eps-ball, clipped to [0, 1]."""
    if norm == "linf":
        return (centre + eps * (2 * draw.uniform() - 1)).clamp(0, 1)
    if norm == "l1":
        return _random_l1(centre, eps * draw.share() ** (1 / centre[0].numel()), draw)
    return _along_noise(centre, eps, draw, power=1 / centre[0].numel())


def random_start(centre: Tensor, eps: float, norm: str, draw: Draw) -> Tensor:
    """Where an ascent begins: for linf a uniform point of the ball, for l2 and l1 a random direction and radius.

    A uniform point of a ball of many dimensions lies at its rim, from which an ascent first has to come back.
    """
    if norm == "l1":
        return _random_l1(centre, eps * draw.share(), draw)
    return random_point(centre, eps, norm, draw) if norm == "linf" else _along_noise(centre, eps, draw, power=1)


def _random_l1(centre: Tensor, radius: Tensor, draw: Draw) -> Tensor:
    """A point at some l1 distances from the centre: exponential sizes over their sum are uniform on the sphere."""
    signed = 2 * draw.uniform() - 1
    sizes = -torch.log1p(-signed.abs().clamp_max(1 - 1e-7))
    sizes = sizes / _rows(size(sizes, "l1").clamp_min(TINY))
    return (centre + _rows(radius) * signed.sign() * sizes).clamp(0, 1)


def _along_noise(centre: Tensor, eps: float, draw: Draw, *, power: float) -> Tensor:
    radius = eps * draw.share() ** power
    return project(centre + _rows(radius) * direction(draw.normal(), "l2", draw.normal), centre, eps, "l2")


def _rows(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
