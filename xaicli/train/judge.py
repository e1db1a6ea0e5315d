"""How an epoch is judged: accuracy on held-out data, and for robust recipes accuracy under attack on some of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.attack.engine import Engine
from xaicli.attack.plan import Attack
from xaicli.data.dataset import Dataset, to_float
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls, evaluating
from xaicli.run.random import Stream, generator

CALL_ROWS = 64
READ_ROWS = 1024
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
        with evaluating(classifier):
            figures = {f"{self.prefix}accuracy": self._clean(Calls(classifier, batch_size=CALL_ROWS))}
        if self.attack is not None:
            figures[f"{self.prefix}robust_accuracy"] = self.robust(classifier, self.attack)
        return figures

    def robust(self, classifier: Classifier, attack: Attack) -> float:
        """Accuracy on attacked rows, drawn once for all epochs (the rows of a folder are sorted by class)."""
        order = generator(0, f"judge:{self.dataset.name}").permutation(len(self.dataset))
        positions = np.sort(order[: self.attacked_rows])
        calls = Calls(classifier, batch_size=CALL_ROWS)
        images, labels = self._rows(positions, calls)
        stream = Stream(self.seed, "judge", tuple(int(number) for number in self.dataset.index[positions]))
        with evaluating(classifier):
            done = Engine(attack, calls, stream).run(images, labels)
        return int((done.logits.argmax(1) == labels).sum()) / len(labels)

    def rank(self, figures: dict[str, float]) -> tuple[float, ...]:
        """What epochs are compared by: robust accuracy first, if there is one, then accuracy."""
        robust = figures.get(f"{self.prefix}robust_accuracy")
        clean = figures[f"{self.prefix}accuracy"]
        return (clean,) if robust is None else (robust, clean)

    def _clean(self, calls: Calls) -> float:
        total, right = len(self.dataset), 0
        for start in range(0, total, READ_ROWS):
            images, labels = self._rows(np.arange(start, min(start + READ_ROWS, total)), calls)
            right += int((calls.logits(images).argmax(1) == labels).sum())
        return right / total

    def _rows(self, positions: npt.NDArray[np.int64], calls: Calls) -> tuple[Tensor, Tensor]:
        images = torch.as_tensor(to_float(self.dataset.read(positions).pixels))
        labels = torch.as_tensor(self.dataset.labels[positions])
        return images.to(calls.device, calls.dtype), labels.to(calls.device)
