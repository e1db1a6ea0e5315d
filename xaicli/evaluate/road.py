"""Remove and debias: pixels are removed by an imputation that leaves no trace of their shape (Rong et al., 2022)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.paths import Fill, Ranks, kept, removed
from xaicli.evaluate.scores import Curves, reports
from xaicli.evaluate.walks import Walk, responses
from xaicli.explain.baselines import make_baseline
from xaicli.run.plan import forwards
from xaicli.run.random import Stream

PERCENTS = range(10, 100, 10)


def imputed_nothing(image: Tensor, stream: Stream) -> Tensor:
    """What imputation makes of an image of which nothing is kept, [n, C, H, W]; its noise is that of every image."""
    return make_baseline("road", image, stream)


@forwards(len(PERCENTS))
def imputed_removal(subject: Subject, ranks: Ranks, imputed_nothing: Tensor) -> Walk:
    """The most relevant 10, ..., 90 % of the pixels imputed."""
    return _walk(subject, ranks, removed(subject.images, ranks.places, imputed_nothing, "road"))


@forwards(len(PERCENTS))
def imputed_keeping(subject: Subject, ranks: Ranks, imputed_nothing: Tensor) -> Walk:
    """All but the most relevant 10, ..., 90 % of the pixels imputed."""
    return _walk(subject, ranks, kept(subject.images, ranks.places, imputed_nothing, "road"))


def _walk(subject: Subject, ranks: Ranks, fill: Fill) -> Walk:
    size = ranks.places[0].numel()
    numbers = [round(percent * size / 100) for percent in PERCENTS]
    counts = torch.tensor(numbers, device=ranks.places.device).expand(len(ranks.places), -1)
    return Walk(subject, counts, counts.double() / size, responses(subject, fill, counts))


@reports(parts=("morf", "lerf"), points=lambda: len(PERCENTS), better={"morf": "lower", "lerf": "higher"})
def road(
    imputed_removal: Walk,
    imputed_keeping: Walk,
    labels: Tensor,
    *,
    score: Literal["probability", "accuracy"] = "probability",
) -> Curves:
    """Remove and debias: least against most relevant pixels imputed, higher is better (Rong et al., 2022).

    Half of LeRF - MoRF, the mean over p = 10, 20, ..., 90 % of the pixels removed; an imputed pixel is the weighted
    mean of its eight neighbours and noise of 0.01. score: the explained class's probability, or whether the true class
    has the largest logit. `road-morf` and `road-lerf` are the means of the two alone; the curve is of half the
    difference by p.
    """
    most, least = (
        (walk.scores(score) if score == "probability" else walk.right(labels)).double()
        for walk in (imputed_removal, imputed_keeping)
    )
    halves = (least.flip(1) - most) / 2  # to keep the top p is to remove the rest
    return Curves(halves.mean(1), {"morf": most.mean(1), "lerf": least.mean(1)}, curve=halves)


QUERIES = (imputed_nothing, imputed_removal, imputed_keeping)
