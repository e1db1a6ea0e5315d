"""What a model makes of all images of a data set: one pass of features, for whoever learns something from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError
from xaicli.files.columns import Status
from xaicli.run.calls import Calls
from xaicli.run.inputs import Inputs
from xaicli.run.progress import Progress


@dataclass(frozen=True, eq=False)
class Training:
    """What the model makes of the training images, as far as they are readable."""

    index: Tensor  # int64 [n], the row in the training split
    labels: Tensor  # int64 [n], 65535 unknown
    logits: Tensor  # [n, K]
    features: Tensor  # [n, D]


def compute_training(training: Dataset, calls: Calls) -> Training:
    """The features of every image, in the order of the data, with a progress bar; none is a forward of any row."""
    asking, inputs = calls.apart(), Inputs(training, np.arange(len(training)))
    parts: list[dict[str, Any]] = []
    what = f"{training.name}:{training.split}" if training.split else "images"
    with Progress(f"features ({what})", len(training)) as progress:
        for rows in inputs.pieces():
            images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
            logits, features = (part.cpu().numpy() for part in asking.features(images))
            finite = np.isfinite(logits).all(1) & np.isfinite(features).all(1)
            status = np.where(finite, rows.status, Status.NON_FINITE)
            found = {"index": rows.index, "label": rows.labels, "prediction": logits, "features": features}
            parts.append({**found, "status": status})
            progress.advance(len(rows))
    return usable_rows(parts, f"{training.name}:{training.split}")


def usable_rows(parts: Sequence[dict[str, Any]], name: str) -> Training:
    """All usable rows."""
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    usable = whole["status"] == Status.OK
    if not usable.any():
        raise InputError(f"'{name}' has no usable training image; restore that data.")
    index, label = (torch.as_tensor(whole[key][usable].astype(np.int64)) for key in ("index", "label"))
    return Training(index, label, *(torch.as_tensor(whole[key][usable]) for key in ("prediction", "features")))
