"""The nearest point of a hyperplane within the box [0, 1], in every norm: one linear piece of a decision border."""

from __future__ import annotations

import torch
from torch import Tensor

FLAT = 1e-8  # weights below it count as zero, as in the code of FAB's authors
ROUNDS = 200  # each settles at least one coordinate; a handful settles all


def reach(point: Tensor, weight: Tensor, gap: Tensor, norm: str) -> Tensor:
    """The smallest change [n, d] of points in the box with weight . change = -gap that stays in the box.

    point, weight: [n, d]. gap: [n], weight . point less the hyperplane's offset. Where no point of the box lies on the
    hyperplane, the change goes as far as the box allows.
    """
    slope = torch.where(gap < 0, -1.0, 1.0).to(weight).unsqueeze(1) * weight  # its negative leads to the hyperplane
    steep = slope.abs()
    if norm != "linf":
        steep = torch.where(steep < FLAT, 0.0, steep)
    room = torch.where(slope > 0, point, 1 - point).clamp_min(0)
    room = torch.where(steep > 0, room, 0.0)
    if norm == "l1":
        length = _steepest_first(steep, room, gap.abs())
    else:
        speed = torch.ones_like(steep) if norm == "linf" else steep
        length = _at_once(steep, speed, room, gap.abs())
    return -slope.sign() * length


def _at_once(steep: Tensor, speed: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """All coordinates move by time x speed until their room is used; the time is when sum(steep * moved) is the gap.

    Newton's method on a concave function that is piecewise linear, from the left: each round counts on the coordinates
    that have room at the time found before. A row that has arrived stays where it is, however many rounds others need.
    """
    arrival = torch.where(steep > 0, room / speed, torch.inf)
    used, rate = steep * room, steep * speed
    time = torch.zeros_like(gap)
    for _ in range(ROUNDS):
        full = arrival <= time.unsqueeze(1)
        done = torch.where(full, used, 0.0).sum(1)
        left = torch.where(full, 0.0, rate).sum(1)
        following = torch.where(left > 0, (gap - done) / left, torch.inf).maximum(time)
        if torch.equal(following, time):
            break
        time = following
    return torch.minimum(time.unsqueeze(1) * speed, room).nan_to_num(nan=0.0)


def _steepest_first(steep: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    """The steepest coordinates use all their room, the last of them what is still needed."""
    order = steep.argsort(dim=1, descending=True, stable=True)
    ordered = (steep * room).gather(1, order)
    before = ordered.cumsum(1) - ordered
    share = torch.where(ordered > 0, (gap.unsqueeze(1) - before) / ordered, 0.0).clamp(0, 1)
    return room * torch.zeros_like(share).scatter_(1, order, share)
