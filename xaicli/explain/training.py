"""The features of all training images: read from a store that holds them already, or computed once a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError
from xaicli.files.artifact import Artifact
from xaicli.files.columns import Status
from xaicli.files.store import open_store
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, describe_data
from xaicli.run.inputs import Inputs
from xaicli.run.job import versions
from xaicli.run.progress import Progress, warn

READ_ROWS = 256


@dataclass(frozen=True, eq=False)
class Training:
    """What the model makes of the training images, as far as they are readable."""

    index: Tensor  # int64 [n], the row in the training split
    labels: Tensor  # int64 [n], 65535 unknown
    logits: Tensor  # [n, K]
    features: Tensor  # [n, D]


def training_features(
    case: Case, stores: Sequence[Artifact], training: Callable[[], Dataset], calls: Calls
) -> Training:
    """Those of a store if one of these holds the very numbers that would be computed here; else computed here."""
    for store in stores:
        ours = store.job.get("method") == "features" and "plugin" not in store.job
        if ours and store.parents.get("checkpoint") == case.checkpoint.id:
            reason = other_numbers(store, case, training, calls)
            if reason is None:
                return read_training(store)
            warn(f"'{store.path.name}' {reason}; the training features are computed anew.")
    return compute_training(training(), calls)


def other_numbers(store: Artifact, case: Case, training: Callable[[], Dataset], calls: Calls) -> str | None:
    """Why a store of features does not hold what this run would compute; None if it does."""
    job, recorded = store.job, dict(case.meta.data or {})
    data = {"name": recorded.get("name"), "split": "train", "digest": recorded.get("digest")}
    if data["digest"] is None:
        data = describe_data(training())
    if "images" in store.parents or store.parents.get("data") != data:
        return "does not hold the training data of its checkpoint"
    if job.get("selection") != {"limit": None, "per_class": None}:
        return f"holds a selection of {store.rows} training images"
    if job.get("batch_size") != calls.batch_size:
        return f"was made with --batch-size {job.get('batch_size')}"
    if job.get("dtype") != "float32" or calls.dtype != torch.float32:
        return "was made with another precision"
    made = job.get("versions")
    return None if made == versions() else "was made with other versions of the libraries"


def read_training(artifact: Artifact) -> Training:
    """The rows of a features store; each is compared with its digest."""
    names = ("index", "label", "prediction", "features", "status")
    with open_store(artifact.path) as store:
        step = max(READ_ROWS, (1 << 24) // (4 * store.shape("features")[1]))
        parts = [store.read(slice(start, start + step), names) for start in range(0, len(store), step)]
    return _joined(parts, artifact.path.name)


def compute_training(training: Dataset, calls: Calls) -> Training:
    """The features of every image, in the order of the data, with a progress bar; none is a forward of any row."""
    asking, inputs = calls.apart(), Inputs(training, np.arange(len(training)))
    parts: list[dict[str, Any]] = []
    with Progress(f"training features ({training.name}:{training.split})", len(training)) as progress:
        for start in range(0, len(training), READ_ROWS):
            rows = inputs.load(start, min(start + READ_ROWS, len(training)))
            images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
            logits, features = (part.cpu().numpy() for part in asking.features(images))
            finite = np.isfinite(logits).all(1) & np.isfinite(features).all(1)
            status = np.where(finite, rows.status, Status.NON_FINITE)
            found = {"index": rows.index, "label": rows.labels, "prediction": logits, "features": features}
            parts.append({**found, "status": status})
            progress.advance(len(rows))
    return _joined(parts, f"{training.name}:{training.split}")


def _joined(parts: Sequence[dict[str, Any]], name: str) -> Training:
    """All usable rows."""
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    usable = whole["status"] == Status.OK
    if not usable.any():
        raise InputError(f"'{name}' has no usable training image; restore that data.")
    index, label = (torch.as_tensor(whole[key][usable].astype(np.int64)) for key in ("index", "label"))
    return Training(index, label, *(torch.as_tensor(whole[key][usable]) for key in ("prediction", "features")))
