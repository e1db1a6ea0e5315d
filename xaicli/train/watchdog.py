"""The watchdog for catastrophic overfitting: one-step attacks that fool nobody any more, within a single epoch.

A network can learn to be right on the images of a one-step attack and on no others; nothing but a stronger attack
shows it, and training does not come back from there by itself (Wong et al., 2020).
"""

from __future__ import annotations

from typing import Any

from xaicli.attack.gradient import pgd
from xaicli.attack.plan import Attack
from xaicli.data.dataset import Dataset
from xaicli.models.classifier import Classifier
from xaicli.train.judge import Judge

STEPS = 5
ROWS = 256  # a drop of 20 points is four to nine standard errors
DROP = 0.2


class Watchdog:
    """Measures the accuracy of the weights in training (never of their average) under PGD-5 on held-out rows."""

    def __init__(self, dataset: Dataset, threat: Attack, seed: int) -> None:
        norm: Any = threat.norm
        self._attack = pgd(norm=norm, eps=threat.eps, steps=STEPS)
        self._judge = Judge(dataset, None, seed, attacked_rows=ROWS)

    def accuracy(self, classifier: Classifier) -> float:
        """A fraction; the classifier is in eval mode meanwhile."""
        return self._judge.robust(classifier, self._attack)
