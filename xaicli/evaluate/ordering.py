"""Metrics over the pixels of positive attribution: are they necessary, sufficient, and in proportion."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.evaluate.asked import TINY
from xaicli.evaluate.scores import Curves, Scores, reports
from xaicli.evaluate.walks import Walk
from xaicli.signatures import Count

Array: TypeAlias = npt.NDArray[Any]


def _points(steps: int | None) -> int:
    return 2 if steps is None else steps + 1  # with `all`, rows have different lengths


@reports(parts=("share",), points=_points)
def n_ord(
    positive_removal: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count | None = 50,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Necessity ordering: what is left while positive pixels are removed in order, lower is better (Wang et al., 2020).

    N = 1/(M+1) sum_{m=0..M} max(f(R_m) - f(b), 0) over the M pixels of positive score; all other pixels stay. steps: so
    many equal shares of the positive mass, linear between them, or `all` for the exact sum. In units of the quantity;
    `n-ord-share` is the same as a share of f(x) - f(b). Undefined without a positive pixel.
    """
    left = (positive_removal.scores(quantity) - baseline_score[:, None]).clamp_min(0).double()
    return _ordered(positive_removal, left, image_score - baseline_score, steps)


@reports(parts=("share",), points=_points)
def s_ord(
    positive_insertion: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count | None = 50,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Sufficiency ordering: what positive pixels bring when inserted in order, higher is better (Wang et al., 2020).

    S = 1/(M+1) sum_{m=0..M} max(min(f(R'_m), f(x)) - f(b), 0) over the M pixels of positive score, put onto the
    baseline. steps and units as for n-ord; `s-ord-share` is the same as a share of f(x) - f(b). Undefined without a
    positive pixel.
    """
    scores = torch.minimum(positive_insertion.scores(quantity), image_score[:, None])
    there = (scores - baseline_score[:, None]).clamp_min(0).double()
    return _ordered(positive_insertion, there, image_score - baseline_score, steps)


def tpn(
    positive_removal: Walk,
    rising_removal: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count | None = 50,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Total proportionality for necessity: do equal shares cost the same, lower is better (Wang et al., 2020).

    Integral over the share k of positive attribution of |D(k) - I(k)|: what is left, max(f - f(b), 0) / (f(x) - f(b)),
    once the most and once the least relevant positive pixels that hold k are removed; 0 is proportional. steps: so many
    equal shares, linear between them, or `all` pixels. Undefined without a positive pixel or where f(x) - f(b) is at
    most 1e-6.
    """
    return _disproportion(positive_removal, rising_removal, image_score, baseline_score, quantity)


def tps(
    positive_insertion: Walk,
    rising_insertion: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count | None = 50,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Total proportionality for sufficiency: do equal shares bring the same, lower is better (Wang et al., 2020).

    As tpn, with the positive pixels put onto the baseline instead of removed from the image.
    """
    return _disproportion(positive_insertion, rising_insertion, image_score, baseline_score, quantity)


def _ordered(walk: Walk, values: Tensor, span: Tensor, steps: int | None) -> Curves:
    counts = walk.counts.double()
    pixels = counts[:, -1]
    # the sum over all whole m of a function that is linear between the points is its integral and half of both ends;
    # added in order, because with `all` a row is as long as the block's longest and its bits must not depend on that
    areas = (counts[:, 1:] - counts[:, :-1]) * (values[:, 1:] + values[:, :-1]) / 2
    total = areas.cumsum(1)[:, -1] + (values[:, 0] + values[:, -1]) / 2
    value = torch.where(pixels > 0, total / (pixels + 1), torch.nan)
    share = torch.where(span > TINY, value / span.double(), torch.nan)
    return Curves(value, {"share": share}, curve=values if steps is not None else values[:, [0, -1]])


def _disproportion(first: Walk, second: Walk, image_score: Tensor, baseline_score: Tensor, quantity: str) -> Scores:
    span = (image_score - baseline_score).double()
    defined = (span > TINY) & (first.counts[:, -1] > 0)
    curves = [
        (walk.shares, (walk.scores(quantity) - baseline_score[:, None]).clamp_min(0) / span[:, None])
        for walk in (first, second)
    ]
    rows = zip(*(part.cpu().numpy() for curve in curves for part in curve), strict=True)
    gaps = [area_between((x1, y1), (x2, y2)) for x1, y1, x2, y2 in rows]
    return Scores(torch.tensor(gaps, dtype=torch.float64).where(defined.cpu(), torch.nan))


def area_between(first: tuple[Array, Array], second: tuple[Array, Array]) -> float:
    """The integral over [0, 1] of the absolute difference of two piecewise linear curves, each (places, values)."""
    places = np.union1d(first[0], second[0])
    gaps = np.interp(places, *first) - np.interp(places, *second)
    left, right = np.abs(gaps[:-1]), np.abs(gaps[1:])
    total = left + right
    # where the curves cross there are two triangles, whose sides on the axis are as their heights
    crossing = (left**2 + right**2) / np.where(total > 0, total, 1)
    means = np.where(gaps[:-1] * gaps[1:] < 0, crossing, total) / 2
    return float((np.diff(places) * means).sum())
