"""A checkpoint that may refuse: its detector with the threshold below which a row is called unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.files.checkpoint import Checkpoint
from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.table import kind_of, rebuild
from xaicli.models.head import features_of
from xaicli.run.calls import Answer, Calls

UNKNOWN = "UNKNOWN"
"""What a refused row is shown as, where others have a class."""


@dataclass(frozen=True, eq=False)
class Rejector:
    """A row is known when its score is at least the threshold; both are float64, and so is every comparison."""

    detector: Detector
    threshold: float

    def scores(self, calls: Calls, images: Tensor) -> Tensor:
        """One score for each image [n, C, H, W], float64 [n], higher is more known; one forward each."""
        ask = self._with_features(calls) if self.detector.needs_features else self._of_logits(calls)
        with torch.no_grad():
            return calls.each(ask, images)[0]

    def keeps(self, scores: Tensor | npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
        """Which rows are known, bool [n]; a score that is not a number is refused."""
        values = scores.detach().cpu().numpy() if isinstance(scores, Tensor) else scores
        kept: npt.NDArray[np.bool_] = values >= self.threshold
        return kept

    def _of_logits(self, calls: Calls) -> Any:
        def ask(images: Tensor) -> Answer:
            logits = calls.classifier(images)
            return (self.detector.score(logits, logits),)

        return ask

    def _with_features(self, calls: Calls) -> Any:
        head = calls.head()

        def ask(images: Tensor) -> Answer:
            with features_of(head) as captured:
                logits = calls.classifier(images)
            return (self.detector.score(captured[0], logits),)

        return ask


def rejector_of(checkpoint: Checkpoint, calls: Calls) -> Rejector | None:
    """The checkpoint's own, on the device of its classifier; None for one that always answers.

    calls: of that classifier, or of one function drawn from its posterior. Raises InputError for a rejection that makes
    no sense.
    """
    stored = checkpoint.meta.rejection
    if stored is None:
        return None
    name, options, threshold = _read(stored, f"'{checkpoint.path}'")
    kind = kind_of(name)
    width = calls.head().width if kind.needs_features else 0
    classes = len(checkpoint.meta.classes)
    detector = rebuild(name, options, checkpoint.tensors, classes=classes, width=width)
    return Rejector(detector.to(calls.device), threshold)


def _read(stored: Mapping[str, Any], what: str) -> tuple[str, dict[str, Any], float]:
    name, options, threshold = (stored.get(key) for key in ("detector", "options", "threshold"))
    sound = isinstance(name, str) and isinstance(options, dict) and type(threshold) in (int, float)
    if not sound or not math.isfinite(threshold):  # type: ignore[arg-type]
        raise InputError(f"the rejection of {what} is damaged; train the model again.")
    return str(name), dict(options), float(threshold)  # type: ignore[arg-type]
