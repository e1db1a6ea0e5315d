"""How an epoch is judged: accuracy on held-out data, and for robust recipes accuracy under attack on some of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from xaicli.attack.engine import Engine
from xaicli.attack.plan import Attack
from xaicli.data.dataset import Dataset, to_float
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.random import Stream

CALL_ROWS = 64
ATTACKED_ROWS = 500  # a binomial standard error of at most 2.3 points


@dataclass(frozen=True)
class Judge:
    """Measures a classifier on held-out data; `attack` is None for recipes that do not defend."""

    dataset: Dataset
    attack: Attack | None
    seed: int
    prefix: str = "val_"
    attacked_rows: int = field(default=ATTACKED_ROWS)

    def figures(self, classifier: Classifier) -> dict[str, float]:
        """Accuracies as fractions; the classifier is in eval mode meanwhile."""
        training = classifier.training
        classifier.eval()
        calls = Calls(classifier, batch_size=CALL_ROWS)
        labels = torch.as_tensor(self.dataset.labels.copy()).to(calls.device)
        right = 0
        for start in range(0, len(self.dataset), 1024):
            positions = np.arange(start, min(start + 1024, len(self.dataset)))
            images = torch.as_tensor(to_float(self.dataset.read(positions).pixels)).to(calls.device)
            right += int((calls.logits(images).argmax(1) == labels[positions]).sum())
        figures = {f"{self.prefix}accuracy": right / len(self.dataset)}
        if self.attack is not None:
            figures[f"{self.prefix}robust_accuracy"] = self._robust(calls, self.attack, labels)
        classifier.train(training)
        return figures

    def rank(self, figures: dict[str, float]) -> tuple[float, ...]:
        """What epochs are compared by: robust accuracy first, if there is one, then accuracy."""
        robust = figures.get(f"{self.prefix}robust_accuracy")
        clean = figures[f"{self.prefix}accuracy"]
        return (clean,) if robust is None else (robust, clean)

    def _robust(self, calls: Calls, attack: Attack, labels: torch.Tensor) -> float:
        count = min(self.attacked_rows, len(self.dataset))
        positions = np.arange(count)
        images = torch.as_tensor(to_float(self.dataset.read(positions).pixels)).to(calls.device)
        stream = Stream(self.seed, "judge", tuple(int(self.dataset.index[p]) for p in positions))
        done = Engine(attack, calls, stream).run(images, labels[:count])
        return float((done.logits.argmax(1) == labels[:count]).float().mean())
