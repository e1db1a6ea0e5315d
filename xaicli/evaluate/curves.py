"""Metrics that follow the model's response while pixels are removed or inserted in the order of relevance."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import TINY
from xaicli.evaluate.scores import Curves, reports
from xaicli.evaluate.walks import Walk
from xaicli.signatures import Count


@reports(points=lambda steps, size: min(steps, size) + 1)
def deletion(
    removal: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count = 100,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper"] = "black",
    quantity: Literal["probability", "logit", "log-probability", "margin"] = "probability",
) -> Curves:
    """Area under the curve while the most relevant pixels are removed, lower is better (Petsiuk et al., 2018).

    All channels of a pixel go together, in min(steps, pixels) equal steps; trapezoid over the share removed. Quantities
    other than the probability are rescaled to (f - f(b)) / (f(x) - f(b)), undefined where that is at most 1e-6.
    """
    return _area(removal, image_score, baseline_score, quantity)


@reports(points=lambda steps, size: min(steps, size) + 1)
def insertion(
    insertion_walk: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count = 100,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper"] = "blur",
    quantity: Literal["probability", "logit", "log-probability", "margin"] = "probability",
) -> Curves:
    """Area under the curve while the most relevant pixels are inserted, higher is better (Petsiuk et al., 2018).

    Pixels are put onto a blurred image (Gaussian of sigma max(1, 5*side/224)), in min(steps, pixels) equal steps;
    trapezoid over the share inserted. Quantities other than the probability are rescaled as for deletion.
    """
    return _area(insertion_walk, image_score, baseline_score, quantity)


@reports(parts=("share",), points=lambda steps, size: 2 if steps is None else steps + 1)
def n_ord(
    positive_removal: Walk,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: Count | None = 50,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Necessity ordering: what is left while positive pixels are removed in order, lower is better (Wang et al., 2020).

    N = 1/(M+1) sum_{m=0..M} max(f(R_m) - f(b), 0) over the M pixels of positive score; all other pixels stay. steps: so
    many equal shares of the positive mass, linear between them, or `all` for the exact sum. In units of the quantity;
    `n-ord-share` is the same as a share of f(x) - f(b). Undefined without a positive pixel.
    """
    left = (positive_removal.scores - baseline_score[:, None]).clamp_min(0).double()
    counts = positive_removal.counts.double()
    pixels = counts[:, -1]
    # the sum over all whole m of a function that is linear between the points is its integral and half of both ends;
    # added in order, because with `all` a row is as long as the block's longest and its bits must not depend on that
    areas = (counts[:, 1:] - counts[:, :-1]) * (left[:, 1:] + left[:, :-1]) / 2
    total = areas.cumsum(1)[:, -1] + (left[:, 0] + left[:, -1]) / 2
    value = torch.where(pixels > 0, total / (pixels + 1), torch.nan)
    span = (image_score - baseline_score).double()
    share = torch.where(span > TINY, value / span, torch.nan)
    curve = left if steps is not None else left[:, [0, -1]]  # with `all`, rows have different lengths
    return Curves(value, {"share": share}, curve=curve)


def _area(walk: Walk, image_score: Tensor, baseline_score: Tensor, quantity: str) -> Curves:
    scores = walk.scores.double()
    if quantity != "probability":
        span = (image_score - baseline_score).double()
        scores = (scores - baseline_score[:, None].double()) / torch.where(span > TINY, span, torch.nan)[:, None]
    share = walk.counts.double() / walk.counts[:, -1:].double()
    return Curves(torch.trapezoid(scores, share, dim=1), curve=scores)
