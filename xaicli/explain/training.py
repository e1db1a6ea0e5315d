"""The features of all training images: read from a store that holds them already, or computed once a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from xaicli.data.dataset import UNKNOWN, Dataset
from xaicli.files.artifact import Artifact
from xaicli.files.store import open_store
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, describe_data
from xaicli.run.features import Training, compute_training, usable_rows
from xaicli.run.inputs import READ_ROWS
from xaicli.run.job import versions
from xaicli.run.progress import warn


def training_features(
    case: Case, stores: Sequence[Artifact], training: Callable[[], Dataset], calls: Calls
) -> Training:
    """Those of a store if one of these holds the very numbers that would be computed here; else computed here."""
    for store in stores:
        ours = store.job.get("method") == "features" and "plugin" not in store.job
        if ours and store.parents.get("checkpoint") == case.checkpoint.id:
            reason = other_numbers(store, case, training, calls)
            if reason is None:
                return _of_known_classes(read_training(store))
            warn(f"'{store.path.name}' {reason}; the training features are computed anew.")
    return compute_training(training(), calls)


def _of_known_classes(training: Training) -> Training:
    """Without the rows of classes that the checkpoint does not know, which `explain` maps all the same."""
    known = training.labels != UNKNOWN
    return Training(*(part[known] for part in (training.index, training.labels, training.logits, training.features)))


def other_numbers(store: Artifact, case: Case, training: Callable[[], Dataset], calls: Calls) -> str | None:
    """Why a store of features does not hold what this run would compute; None if it does."""
    job, recorded = store.job, dict(case.meta.data or {})
    data = {"name": recorded.get("name"), "split": "train", "digest": recorded.get("digest")}
    if "known" in recorded:
        data["known"] = recorded["known"]
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
    return usable_rows(parts, artifact.path.name)
