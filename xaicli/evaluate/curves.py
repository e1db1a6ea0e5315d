"""Metrics that follow the model's response while pixels are removed or inserted in the order of relevance."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import TINY
from xaicli.evaluate.scores import Curves, reports
from xaicli.evaluate.walks import Walk, fresh, points
from xaicli.signatures import Count


def _pixel_points(steps: int, size: int) -> int:
    return points(steps, size, None, None) + 1


def _cell_points(steps: int, size: int, grid: int | None = None, segments: int | None = None) -> int:
    return points(steps, size, grid, segments) + 1


@reports(points=_pixel_points)
def deletion(
    removal: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count = 100,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["probability", "logit", "log-probability", "margin"] = "probability",
) -> Curves:
    """Area under the curve while the most relevant pixels are removed, lower is better (Petsiuk et al., 2018).

    All channels of a pixel go together, in min(steps, pixels) equal steps; trapezoid over the share removed. Quantities
    other than the probability are rescaled to (f - f(b)) / (f(x) - f(b)), undefined where that is at most 1e-6.
    """
    return _area(removal, _rescaled(removal, image_score, baseline_score, quantity))


@reports(points=_pixel_points)
def insertion(
    insertion_walk: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count = 100,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "blur",
    quantity: Literal["probability", "logit", "log-probability", "margin"] = "probability",
) -> Curves:
    """Area under the curve while the most relevant pixels are inserted, higher is better (Petsiuk et al., 2018).

    Pixels are put onto a blurred image (Gaussian of sigma max(1, 5*side/224)), in min(steps, pixels) equal steps;
    trapezoid over the share inserted. Quantities other than the probability are rescaled as for deletion.
    """
    return _area(insertion_walk, _rescaled(insertion_walk, image_score, baseline_score, quantity))


@reports(points=_pixel_points)
def pixel_flipping(
    removal: Walk,
    *,
    steps: Count = 100,
    baseline: Literal["inverse", "black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "inverse",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Area under the curve while the most relevant pixels are flipped, lower is better (Bach et al., 2015).

    A flipped pixel x becomes 1 - x in all channels; min(steps, pixels) equal steps, trapezoid over the share flipped,
    in units of the quantity.
    """
    return _area(removal, removal.scores(quantity))


@reports(points=_cell_points)
def selectivity(
    removal: Walk,
    *,
    steps: Count = 100,
    grid: Count = 8,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Area under the curve while the most relevant patches are removed, lower is better (Montavon et al., 2018).

    `grid` patches along each side, ranked by the sum of their attribution, at most `steps` steps; trapezoid over the
    share removed, in units of the quantity.
    """
    return _area(removal, removal.scores(quantity))


@reports(points=_cell_points)
def morf(
    removal: Walk,
    *,
    steps: Count = 100,
    grid: Count | None = None,
    segments: Count | None = None,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Mean over the curve that removes the most relevant first, lower is better (Samek et al., 2017).

    Over the image and at most `steps` equal steps to the baseline, in units of the quantity. Pixels; or patches, `grid`
    along each side; or at most `segments` superpixels (SLIC).
    """
    scores = removal.scores(quantity).double()
    return Curves(_mean(removal, scores), curve=scores)


@reports(points=_cell_points)
def lerf(
    insertion_walk: Walk,
    *,
    steps: Count = 100,
    grid: Count | None = None,
    segments: Count | None = None,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Mean over the curve that removes the least relevant first, higher is better (Samek et al., 2017).

    As morf; asked as the walk that inserts the most relevant first, backwards.
    """
    scores = insertion_walk.scores(quantity).double()
    return Curves(_mean(insertion_walk, scores), curve=scores.flip(1))


@reports(points=_cell_points)
def aopc(
    removal: Walk,
    *,
    steps: Count = 100,
    grid: Count | None = None,
    segments: Count | None = None,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Mean drop while the most relevant are removed, higher is better (Samek et al., 2017).

    1/(L+1) sum_{l=0..L} f(x) - f(x_l) over at most L = `steps` equal steps to the baseline, in units of the quantity.
    Pixels; or patches, `grid` along each side; or at most `segments` superpixels (SLIC).
    """
    scores = removal.scores(quantity).double()
    drops = scores[:, :1] - scores
    return Curves(_mean(removal, drops), curve=drops)


@reports(points=_cell_points)
def abpc(
    removal: Walk,
    insertion_walk: Walk,
    *,
    steps: Count = 100,
    grid: Count = 8,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Area between the curves of both orders of removal, higher is better (Schulz et al., 2020).

    AOPC with the most relevant patches first less that with the least relevant first, in units of the quantity; `grid`
    patches along each side, ranked by the sum of their attribution, at most `steps` steps.
    """
    return _between(removal, insertion_walk, quantity)


@reports(points=_cell_points)
def srg(
    removal: Walk,
    insertion_walk: Walk,
    *,
    steps: Count = 100,
    segments: Count | None = 50,
    grid: Count = 8,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Symmetric relevance gain: the area between both orders of removal, higher is better (Blücher et al., 2024).

    The mean of the curve with the least relevant first less that with the most relevant first, in units of the
    quantity. At most `segments` superpixels (SLIC), ranked by the sum of their attribution, at most `steps` steps; with
    `segments=none` patches, `grid` along each side: then it is abpc.
    """
    return _between(removal, insertion_walk, quantity)


@reports(points=_cell_points)
def irof(
    removal: Walk,
    *,
    steps: Count = 100,
    segments: Count = 50,
    pool: Literal["mean", "sum"] = "mean",
    baseline: Literal["mean", "black", "white", "blur", "noise", "salt-pepper", "road"] = "mean",
    quantity: Literal["probability", "logit"] = "probability",
) -> Curves:
    """Area over the curve while the most relevant superpixels are removed, higher is better (Rieger & Hansen, 2020).

    1 - integral of f(x_l) / f(x) over the share of superpixels (SLIC) in the image's mean colour; they are ranked by
    the `pool` of their attribution. Undefined where f(x) is at most 1e-6.
    """
    scores = removal.scores(quantity).double()
    whole = scores[:, :1]
    ratios = scores / torch.where(whole > TINY, whole, torch.nan)
    return Curves(1 - torch.trapezoid(ratios, removal.shares, dim=1), curve=ratios)


@reports(parts=("arya",), points=_pixel_points)
def monotonicity(
    removal: Walk,
    *,
    steps: Count = 100,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper", "road"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Share of steps that add no less than the less relevant ones before, higher is better (Arya et al., 2019).

    Pixels are put onto the baseline from the least to the most relevant, in min(steps, pixels) steps; compared is what
    a step adds per pixel: 1 for an exact map of a linear model, 0 for its negative, a half for random maps. The paper
    asks only that no step takes away (`monotonicity-arya`, the share of such steps). Where effects add up that is the
    same for every map, so it cannot tell exact maps from random ones. Differences under 1e-6 of the curve's range are
    none. Undefined where the model's answer never changes, and for fewer than two steps.
    """
    scores = removal.scores(quantity).double().flip(1)
    sizes = (removal.counts[:, 1:] - removal.counts[:, :-1]).double().flip(1)
    gains = (scores[:, 1:] - scores[:, :-1]) / sizes
    span = (scores.amax(1) - scores.amin(1))[:, None]
    slack = TINY * span / sizes
    rising = (gains[:, 1:] >= gains[:, :-1] - slack[:, 1:]).double().where(span > 0, torch.nan)
    adding = (gains >= -slack).double().where(span > 0, torch.nan)
    return Curves(rising.mean(1), {"arya": adding.mean(1)}, curve=scores)


def _rescaled(walk: Walk, image_score: Tensor, baseline_score: Tensor, quantity: str) -> Tensor:
    scores = walk.scores(quantity).double()
    if quantity == "probability":
        return scores
    span = (image_score - baseline_score).double()
    return (scores - baseline_score[:, None].double()) / torch.where(span > TINY, span, torch.nan)[:, None]


def _area(walk: Walk, scores: Tensor) -> Curves:
    scores = scores.double()
    return Curves(torch.trapezoid(scores, walk.shares, dim=1), curve=scores)


def _mean(walk: Walk, scores: Tensor) -> Tensor:
    """The mean over the points of a walk; those that a row with few superpixels repeats count once."""
    counted = fresh(walk.counts).double()
    return (scores * counted).sum(1) / counted.sum(1)


def _between(removal: Walk, insertion_walk: Walk, quantity: str) -> Curves:
    most, least = removal.scores(quantity).double(), insertion_walk.scores(quantity).double()
    return Curves(_mean(insertion_walk, least) - _mean(removal, most), curve=least.flip(1) - most)
