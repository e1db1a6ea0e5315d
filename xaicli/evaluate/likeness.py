"""How alike two maps are: rank correlation, structural similarity and the overlap of their most relevant pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.evaluate.correlation import spearman

WINDOW, SIGMA = 11, 1.5  # pixels (Wang et al., 2004)
STEADY = 0.01**2, 0.03**2  # their constants C1 and C2, for values in [0, 1]


@dataclass(frozen=True)
class Likeness:
    """Of two maps of each row, or of several pairs: spearman and ssim, [n] or [n, pairs], float64."""

    spearman: Tensor
    ssim: Tensor


def likeness(maps: Tensor, others: Tensor) -> Likeness:
    """How alike the maps [n, H, W] of every row are."""
    return Likeness(spearman(maps.flatten(1), others.flatten(1)), ssim(maps, others))


def side_by_side(found: list[Likeness]) -> Likeness:
    """Several pairs of every row, [n, pairs]."""
    return Likeness(torch.stack([one.spearman for one in found], 1), torch.stack([one.ssim for one in found], 1))


def ssim(maps: Tensor, others: Tensor) -> Tensor:
    """Structural similarity of two maps [n, H, W], each scaled to [0, 1]: [n], float64.

    In Gaussian windows that lie inside. NaN where one map is constant, or smaller than the window.
    """
    if min(maps.shape[1:]) < WINDOW:
        return maps.new_full((len(maps),), torch.nan, dtype=torch.float64)
    first, second = _scaled(maps), _scaled(others)
    mean, other = _blurred(first), _blurred(second)
    variance = _blurred(first * first) - mean * mean
    varied = _blurred(second * second) - other * other
    shared = _blurred(first * second) - mean * other
    top = (2 * mean * other + STEADY[0]) * (2 * shared + STEADY[1])
    bottom = (mean * mean + other * other + STEADY[0]) * (variance + varied + STEADY[1])
    return (top / bottom).flatten(1).mean(1)


def overlap(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Which share of the first pixels of two orders [n, P] is the same, [n]: round(share * P) of them, at least one."""
    count = max(1, round(share * first.shape[1]))
    chosen = torch.zeros_like(first, dtype=torch.bool).scatter_(1, first[:, :count], True)
    return chosen.gather(1, second[:, :count]).double().mean(1)


def _scaled(maps: Tensor) -> Tensor:
    """Maps from 0 to 1, float64; NaN where they are constant."""
    maps = maps.double()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / torch.where(high > low, high - low, 1), torch.nan)


def _blurred(maps: Tensor) -> Tensor:
    """The weighted mean in each window that fits, [n, H - 10, W - 10]; elementwise, so that rows do not meet."""
    taps = [math.exp(-0.5 * ((k - WINDOW // 2) / SIGMA) ** 2) for k in range(WINDOW)]
    weights = [tap / sum(taps) for tap in taps]
    height, width = maps.shape[1] - WINDOW + 1, maps.shape[2] - WINDOW + 1
    rows = sum(weight * maps[:, k : k + height] for k, weight in enumerate(weights))
    assert isinstance(rows, Tensor)
    columns = sum(weight * rows[:, :, k : k + width] for k, weight in enumerate(weights))
    assert isinstance(columns, Tensor)
    return columns
