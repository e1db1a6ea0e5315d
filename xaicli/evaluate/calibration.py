"""Whether a model is right as often as it says, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.evaluate.reliability import equal_mass, equal_width, error_estimate, reliability
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.statistics import Values, mean_estimates
from xaicli.evaluate.whole import Columns, Facts, Figure, known
from xaicli.signatures import Count

PARTS = ("right", "brier", "nll", "temperature", "scaled", "scaled-nll")
MEANS = ("brier", "nll", "scaled-nll")


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """Each source's calibration errors, its Brier score and likelihood, and the same at its own temperature."""
    return [_figures(own, one, options["bins"], seed) for own, one in zip(columns, facts, strict=True)]


def _figures(own: Columns, held_out: Facts, bins: int, seed: int) -> list[Figure]:
    said, scaled, right = own[""], own["scaled"], own["right"]
    means = dict(zip(MEANS, mean_estimates([own[part] for part in MEANS], seed=seed), strict=True))
    temperatures = own["temperature"][np.isfinite(own["temperature"])]  # one of all rows
    temperature = known(float(temperatures[0]) if len(temperatures) else None, int(held_out.get("rows", 0)))

    def errors(part: str, confidence: Values) -> Figure:
        estimate = error_estimate(confidence, right, equal_width, bins, seed=seed)
        return Figure(part, estimate, "lower", details={"bins": reliability(confidence, right, bins)})

    return [
        errors("", said),
        Figure("adaptive", error_estimate(said, right, equal_mass, bins, seed=seed), "lower"),
        Figure("brier", means["brier"], "lower"),
        Figure("nll", means["nll"], "lower"),
        Figure("temperature", temperature, "neither", details={"held_out": dict(held_out)}),
        errors("scaled", scaled),
        Figure("scaled-nll", means["scaled-nll"], "lower"),
    ]


@reports(parts=PARTS, quantity="probability", together=figures)
def calibration(logits: Tensor, labels: Tensor, temperature: float, *, bins: Count = 15) -> Scores:
    """Expected calibration error of the predicted class's probability, lower is better (Guo et al., 2017).

    The mean over rows of |accuracy - confidence| of their bin, `bins` of equal width; the rows' value is the
    confidence. Beside it stand the same in bins of equally many rows (adaptive), the Brier score, from 0 to 2, the mean
    negative log-likelihood, and the temperature that is best on held-out rows with error and likelihood after it
    (scaled). It is fitted on the `val` split of the training data, on 5,000 rows at most, and undefined for an imported
    checkpoint, whose training may have seen them, where all of them are right, and where they are judged themselves.
    The error of finitely many rows is above 0 for any model, that of resampled ones more so; the basic bootstrap
    interval makes up for that in part. Undefined for rows without a true class.
    """
    known_class = labels < logits.shape[1]
    label = torch.where(known_class, labels, 0)
    values = logits.double()
    scaled = values / temperature
    right = (logits.argmax(1) == label).double()
    error = (values.softmax(1) - torch.nn.functional.one_hot(label, logits.shape[1])).square().sum(1)
    found = {
        "": values.softmax(1).amax(1),
        "right": right,
        "brier": error,
        "nll": _surprise(values, label),
        "temperature": torch.full_like(error, temperature),
        "scaled": scaled.softmax(1).amax(1),
        "scaled-nll": _surprise(scaled, label),
    }
    own, *parts = (torch.where(known_class, column, torch.nan) for column in found.values())
    return Scores(own, dict(zip(PARTS, parts, strict=True)))


def _surprise(logits: Tensor, label: Tensor) -> Tensor:
    """-log p of the class, [n]."""
    return -logits.log_softmax(1).gather(1, label.unsqueeze(1)).squeeze(1)
