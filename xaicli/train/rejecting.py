"""The detector of a checkpoint and the threshold below which it will refuse, once the weights are there.

The detector is fitted on the rows that the network was trained on, the threshold on rows that neither has seen: one
fitted on the very rows that set the threshold would find them too well known, and refuse far more of the fresh ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xaicli.data.dataset import UNKNOWN, Dataset
from xaicli.files.checkpoint import Checkpoint
from xaicli.files.columns import Status
from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.known import Known, known_rows
from xaicli.models.detectors.table import detector_arrays, detector_options, fit, is_fitted
from xaicli.models.head import Head
from xaicli.run.calls import Calls
from xaicli.run.features import compute_training
from xaicli.run.inputs import Inputs
from xaicli.run.posterior import open_calls
from xaicli.run.progress import Progress
from xaicli.run.rejection import Rejector
from xaicli.run.settings import Settings
from xaicli.run.threshold import Threshold, threshold_at
from xaicli.train.known import Asked

REHEARSAL_ROWS = 1000


@dataclass(frozen=True, eq=False)
class Rejection:
    """What a checkpoint says of its detector, and the arrays that it keeps of it."""

    asked: Asked
    detector: Detector
    threshold: Threshold

    @property
    def record(self) -> dict[str, Any]:
        """The checkpoint's `rejection`: `kept` of `rows` held-out known rows, of which `tpr` were asked for."""
        found = self.threshold
        return {
            "detector": self.asked.spec.name,
            "options": detector_options(self.detector),
            "threshold": found.value,
            "tpr": self.asked.tpr,
            "kept": found.kept,
            "rows": found.rows,
            "low": found.low,
            "high": found.high,
        }

    @property
    def metrics(self) -> dict[str, float]:
        """What stands among the checkpoint's figures."""
        return {"threshold": self.threshold.value, "val_kept_rate": self.threshold.kept / self.threshold.rows}

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """By the names that they have in a checkpoint."""
        return detector_arrays(self.detector)

    @property
    def line(self) -> str:
        """What a person is told."""
        found = self.threshold
        return (
            f"{self.asked.spec.name} calls UNKNOWN what scores below {found.value:.4g}, which keeps {found.kept} of "
            f"{found.rows} held-out images of known classes; {self.asked.tpr:.4g} of them were asked for."
        )


def fit_rejection(
    asked: Asked, checkpoint: Checkpoint, splits: Mapping[str, Dataset], device: torch.device
) -> Rejection:
    """Fit the detector on the rows of `fit` and its threshold on those of `val`, all of them of known classes.

    checkpoint: as it will be written, so that the model answers as it will answer later commands: in batches of their
    size, and an uncertain one by the draws of their seed. Raises InputError where these rows do not allow for a fit.
    """
    calls = open_calls(checkpoint, device=device, settings=Settings())
    known = _known(splits["fit"], calls) if is_fitted(asked.spec.name) else None
    detector = fit(asked.spec.name, known, asked.spec.options)
    scores = _scores(Rejector(detector.to(device), -np.inf), splits["val"], calls)
    return Rejection(asked, detector, threshold_at(scores, tpr=asked.tpr))


def rehearse(asked: Asked, head: Head, rows: int) -> None:
    """Fit the detector on rows that are made up, before the training: options that ask too much must not cost one.

    rows: how many there will be. Raises InputError.
    """
    draws, classes = torch.Generator().manual_seed(0), head.layer.out_features
    wanted = asked.spec.options.get("k")
    count = min(rows, max(REHEARSAL_ROWS, 4 * classes, 2 * head.width, wanted if isinstance(wanted, int) else 0))
    labels = torch.arange(count) % classes
    logits = torch.rand(count, classes, generator=draws) + nn.functional.one_hot(labels, classes)
    made_up = known_rows(torch.rand(count, head.width, generator=draws), logits, labels, head)
    fit(asked.spec.name, made_up.on_cpu(), asked.spec.options)


def _known(dataset: Dataset, calls: Calls) -> Known:
    """What the network makes of its training rows, without augmentation."""
    found = compute_training(dataset, calls)
    return known_rows(found.features, found.logits, found.labels, calls.head()).on_cpu()


def _scores(rejector: Rejector, dataset: Dataset, calls: Calls) -> NDArray[np.float64]:
    """The scores of all rows that can be read, float64."""
    inputs, parts = Inputs(dataset, np.arange(len(dataset))), []
    with Progress(f"threshold ({dataset.name}:{dataset.split})", len(dataset)) as progress:
        for rows in inputs.pieces():
            images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
            usable = (rows.status == Status.OK) & (rows.labels != UNKNOWN)
            parts.append(rejector.scores(calls, images).cpu().numpy()[usable])
            progress.advance(len(rows))
    return np.concatenate(parts)
