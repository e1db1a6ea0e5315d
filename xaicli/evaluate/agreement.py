"""Whether two explainers say the same, or one explainer the same of two models."""

from __future__ import annotations

from torch import Tensor

from xaicli.evaluate.likeness import likeness, overlap
from xaicli.evaluate.paths import order as order_of
from xaicli.evaluate.scores import Scores, reports
from xaicli.signatures import Share


@reports(parts=("top-k", "ssim"))
def agreement(attribution: Tensor, other: Tensor, order: Tensor, shuffle: Tensor, *, top: Share = 0.1) -> Scores:
    """Rank correlation, top pixels and SSIM that two maps share; neither is better (Krishna et al., 2022).

    Of every two explainers of one checkpoint, and of the same explainer of two checkpoints on the same images, each for
    the class that it explains: Spearman's correlation of the pixels; `agreement-top-k`, the share of the `top` of all
    pixels that both have among theirs (ties broken by one permutation for both); `agreement-ssim`, of maps scaled to
    [0, 1] in the window of Wang et al. (2004), undefined below its 11 pixels. From -1 to 1, 0 to 1 and -1 to 1; equal
    maps have 1. Undefined where one map is constant. Says nothing of who is right.
    """
    found = likeness(attribution, other)
    shared = overlap(order, order_of(other, shuffle), top).where(found.spearman.isfinite(), float("nan"))
    return Scores(found.spearman, {"top-k": shared, "ssim": found.ssim})
