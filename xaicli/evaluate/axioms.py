"""What a map should satisfy exactly, as numbers: how far it is from that."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import TINY, Subject
from xaicli.evaluate.cells import CellResponses, noise_changes
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.signed import Signed
from xaicli.signatures import Count, NonNegative


@reports(parts=("share",))
def completeness(
    signed: Signed,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    baseline: Literal["own", "black", "white", "mean", "blur", "noise", "salt-pepper"] = "own",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Distance of the map's sum from f(x) - f(b), lower is better (Sundararajan et al., 2017).

    In units of the quantity; `completeness-share` is the same as a share of the absolute f(x) - f(b), undefined where
    that is at most 1e-6. baseline: `own` takes the gap that the method has stored, for its own baseline and quantity,
    and black where it has stored none. The sum is that of all channels with their signs.
    """
    total = signed.total()
    gap = total - (image_score - baseline_score).double()
    if baseline == "own" and signed.gap is not None:
        gap = signed.gap.double()
    span = (total - gap).abs()
    return Scores(gap.abs(), {"share": gap.abs() / torch.where(span > TINY, span, torch.nan)})


def non_sensitivity(
    attribution: Tensor,
    cell_noise: CellResponses,
    subject: Subject,
    image_score: Tensor,
    *,
    grid: Count | None = 16,
    draws: Count = 1,
    eps: NonNegative = 1e-5,
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Share of cells of which map and model disagree whether they matter, lower is better (Nguyen and Martinez, 2020).

    A cell of a `grid` x `grid` grid (`all`: a pixel) does not matter to the map if its absolute attribution is at most
    `eps` of the row's largest, and not to the model if uniform noise in its place, drawn `draws` times, changes f by at
    most `eps` of the largest change. From 0 to 1. It measures dependence, not contributions, and only whether there is
    any: for a model that uses every cell, a random map is perfect, and exact contributions are not where a cell says
    nothing but could.
    """
    sizes = cell_noise.grid.sums(attribution.abs())
    changes = noise_changes(cell_noise, subject, image_score, quantity).abs().amax(2)
    unused, dead = (part <= eps * part.amax(1, keepdim=True) for part in (sizes, changes))
    return Scores((unused != dead).double().mean(1))
