"""A metric that asks whether a map explains the part of the image that it shows."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.correlation import pearson
from xaicli.evaluate.masked import Window
from xaicli.evaluate.scores import Scores, reports
from xaicli.explain.quantity import score


@reports(parts=("coherency", "complexity", "drop"), better={"complexity": "lower", "drop": "lower"})
def adcc(map_through_window: Tensor, window: Window, masked_score: Tensor, subject: Subject, logits: Tensor) -> Scores:
    """Harmonic mean of coherency, simplicity and confidence through the map, higher is better (Poppi et al., 2021).

    3 / (1/coherency + 1/(1 - complexity) + 1/(1 - drop)) with M the min-max scaled positive map: coherency is (1 +
    Pearson(M, positive map of x * M))/2, complexity the mean of M, drop the average drop of x * M; all from 0 to 1, the
    parts too. Rewards small maps: about .7 for one bright pixel that loses all else. The explainer is asked again.
    Undefined without a positive pixel, and where the second map has no range.
    """
    whole = score(logits, subject.target, subject.against, "probability")
    coherency = (1 + pearson(window.weights.flatten(1), map_through_window.clamp_min(0).flatten(1))) / 2
    complexity = window.weights.double().mean((1, 2))
    drop = ((whole - masked_score).clamp_min(0) / whole).double()
    parts = {"coherency": coherency, "complexity": complexity, "drop": drop}
    defined = window.defined & coherency.isfinite()
    return Scores(
        torch.where(defined, harmonic_mean(torch.stack([coherency, 1 - complexity, 1 - drop], 1)), torch.nan),
        {name: torch.where(defined, part, torch.nan) for name, part in parts.items()},
    )


def harmonic_mean(values: Tensor) -> Tensor:
    """The harmonic mean of each row of non-negative values [n, k], [n]; 0 where one is 0."""
    positive = (values > 0).all(1)
    return torch.where(positive, values.shape[1] / torch.where(values > 0, values, 1).reciprocal().sum(1), 0)
