"""How a classifier does on its own data: the check that finds a wrong normalisation before anything is built on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from xaicli.data.dataset import UNKNOWN, Dataset
from xaicli.files.columns import Status
from xaicli.models.classifier import Classifier
from xaicli.models.load import lay_out
from xaicli.run.calls import Calls, evaluating
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Inputs
from xaicli.run.selection import select
from xaicli.run.settings import Settings

ROWS = 1000
"""A standard error of at most 1.6 points."""
LEVEL = 1e-3
"""How improbable an accuracy must be by guessing before it counts as better."""


@dataclass(frozen=True)
class Accuracy:
    """`hits` of `n` images, of `classes` classes, were told right."""

    hits: int
    n: int
    classes: int

    @property
    def at_chance(self) -> bool:
        """Whether guessing explains it: no one-sided exact binomial test against 1/K at 1e-3.

        So few rows that even all of them right would not pass say nothing, and neither does a single class.
        """
        from scipy.stats import binomtest

        def p_value(hits: int) -> float:
            return float(binomtest(hits, self.n, 1 / self.classes, alternative="greater").pvalue)

        return self.n > 0 and p_value(self.n) < LEVEL <= p_value(self.hits)


def checked_rows(dataset: Dataset, settings: Settings) -> Inputs:
    """The rows that are looked at: those of the command's selection, at most a thousand unless it says more."""
    return Inputs(dataset, select(dataset, replace(settings, limit=settings.limit or ROWS)))


def clean_accuracy(classifier: Classifier, inputs: Inputs, settings: Settings) -> Accuracy:
    """Ask about every readable row with a label; the classifier is in evaluation mode, and moves to the device."""
    device = prepare(settings)
    hits = n = 0
    with memory_guard(settings.call_rows), evaluating(lay_out(classifier, device)):
        calls = Calls(classifier, batch_size=settings.call_rows)
        for start in range(0, len(inputs), settings.call_rows):
            rows = inputs.load(start, min(start + settings.call_rows, len(inputs)))
            usable = (rows.status == Status.OK) & (rows.labels != UNKNOWN)
            predicted = calls.logits(torch.as_tensor(rows.pixels).to(calls.device)).argmax(1).cpu().numpy()
            hits += int(np.count_nonzero(usable & (predicted == rows.labels)))
            n += int(np.count_nonzero(usable))
    return Accuracy(hits, n, len(classifier.class_names))
