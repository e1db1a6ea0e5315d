"""What a command works on: each checkpoint with its rows, put together from SOURCEs, --data and parents found by id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from xaicli.data.cut import only_known, relabelled
from xaicli.data.dataset import Dataset
from xaicli.data.open import open_data
from xaicli.errors import InputError, UsageError
from xaicli.files.artifact import Artifact, identify
from xaicli.files.checkpoint import CheckpointMeta, read_meta
from xaicli.files.parents import Parents
from xaicli.files.sources import Sources
from xaicli.run.inputs import Inputs
from xaicli.run.progress import warn
from xaicli.run.selection import select
from xaicli.run.settings import Settings
from xaicli.run.stored import open_stored_images


@dataclass(frozen=True)
class Case:
    """One checkpoint with the rows it is asked about. `stem` begins the default names of what comes out."""

    checkpoint: Artifact
    meta: CheckpointMeta
    inputs: Inputs
    images: Artifact | None
    stem: str
    data_path: Path | None = None  # where a record said that the images' data set lies

    @property
    def job_parents(self) -> dict[str, Any]:
        """The parents as a job names them: ids, and the data set by name and digest."""
        if self.images is not None:
            data, known = self.images.parents.get("data"), self.inputs.dataset.known
            if data is not None and known:  # which is not what their own checkpoint knows
                data = {**data, "known": list(known)}
            return {"checkpoint": self.checkpoint.id, "images": self.images.id, "data": data}
        return {"checkpoint": self.checkpoint.id, "data": describe_data(self.inputs.dataset)}

    @property
    def record_parents(self) -> dict[str, Any]:
        """The parents as a record names them: with the paths where they lie now."""
        parents: dict[str, Any] = {"checkpoint": {"id": self.checkpoint.id, "path": str(self.checkpoint.path)}}
        if self.images is not None:
            parents["images"] = {"id": self.images.id, "path": str(self.images.path)}
        data = dict(self.job_parents["data"] or {})
        path = self.data_path if self.images is not None else self.inputs.dataset.path
        if path is not None:
            data["path"] = str(path)
        parents["data"] = data
        return parents

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """The history of the nearest parent, to which the new job is appended."""
        nearest = self.images or self.checkpoint
        return list(nearest.history)


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """A data set as jobs and records name it; `known`: its classes, where rows of others have no label."""
    known = {"known": list(dataset.known)} if dataset.known else {}
    return {"name": dataset.name, "split": dataset.split, "digest": dataset.digest, **known}


def gather_cases(
    sources: Sources, parents: Parents, data: str | None, settings: Settings, *, known_only: bool = False
) -> list[Case]:
    """Every checkpoint with the images given, or with --data, or with the test split of its own data.

    known_only: leave out the rows of classes that the checkpoint does not know, before any are selected.
    """
    checkpoints = sources.of_kind("checkpoint")
    images = sources.of_kind("images")
    if images and data is not None:
        raise UsageError("an images store and --data were both given; give one of them.")
    if data is not None and data.endswith(".h5"):
        images, data = [_images(data)], None
    if not checkpoints and not images:
        raise UsageError("no checkpoint and no images store among the sources; name at least one.")
    cases = []
    for store in images:
        for checkpoint in checkpoints or [parents.find("checkpoint", str(store.parents.get("checkpoint")), store)]:
            cases.append(_case(checkpoint, open_stored_images(store.path), store, settings, parents, known_only))
    if not images:
        for checkpoint in checkpoints:
            dataset = open_checkpoint_data(checkpoint, data, parents, settings)
            cases.append(_case(checkpoint, dataset, None, settings, parents, known_only))
    return cases


def _images(path: str) -> Artifact:
    """--data FILE.h5: the same as that store as a SOURCE."""
    artifact = identify(Path(path))
    if artifact.kind != "images":
        raise InputError(f"--data '{path}' holds {artifact.kind}; name an images store or a data set.")
    return artifact


def open_checkpoint_data(checkpoint: Artifact, data: str | None, parents: Parents, settings: Settings) -> Dataset:
    """The data named by --data, or the test split of the data that a checkpoint was trained on, at its image size."""
    meta, _ = read_meta(checkpoint.path)
    shape = (meta.shape[0], meta.shape[1], meta.shape[2])
    if data is not None:
        return open_placed(data, shape, parents, settings)
    test = meta.data_of("test")
    if not test:
        raise UsageError(f"'{checkpoint.path.name}' does not say what data it was trained on; name some with --data.")
    return reopen_data(test, shape, parents, settings)


def open_placed(data: str, shape: tuple[int, int, int] | None, parents: Parents, settings: Settings) -> Dataset:
    """The data named by --data; from now on, artifacts that name the same folder find it there."""
    dataset = open_data(data, shape=shape, access=settings.access)
    if dataset.path is not None:
        parents.place(dataset.name, dataset.path)
    return dataset


def in_its_classes(meta: CheckpointMeta, dataset: Dataset) -> Dataset:
    """Data with all the classes of a checkpoint's own and more, in the labels of those that it knows; else as it is."""
    known, names = known_classes(meta.data or {}), dataset.classes
    if dataset.known or not known or known[-1] >= len(names):
        return dataset
    same = tuple(names[number] for number in known) == tuple(meta.classes)
    return relabelled(dataset, known) if same else dataset


def known_classes(recorded: Mapping[str, Any]) -> tuple[int, ...]:
    """The class numbers that data of record was cut down to, ascending; none for all.

    Raises InputError for what is nothing of the kind.
    """
    known = recorded.get("known", [])
    numbers = isinstance(known, list) and all(type(number) is int and number >= 0 for number in known)
    if not numbers or any(low >= high for low, high in pairwise(known)):
        raise InputError("the known classes of record are no ascending class numbers; make that artifact again.")
    return tuple(known)


def reopen_known(
    recorded: dict[str, Any], shape: tuple[int, int, int] | None, parents: Parents, settings: Settings
) -> Dataset:
    """The same without the rows of unknown classes: what a checkpoint was trained on, or could have been."""
    dataset = reopen_data(recorded, shape, parents, settings)
    return only_known(dataset) if dataset.known else dataset


def reopen_data(
    recorded: dict[str, Any], shape: tuple[int, int, int] | None, parents: Parents, settings: Settings
) -> Dataset:
    """Open the data set that an artifact names; InputError when its digest is no longer the same.

    Where only some classes are known, the others' rows are there, without a label.
    """
    name, split = str(recorded["name"]), str(recorded["split"])
    spec, hint = name, _hint(recorded, parents)
    if name.startswith("folder:"):
        spec = f"folder:{_folder(name.removeprefix('folder:'), hint or parents.placed(name), settings)}"
    access = replace(settings.access, hints=tuple(hint.parents)[:2] if hint else ())  # it may lie in ROOT/NAME/raw
    dataset = open_data(spec, split=split, shape=shape, access=access)
    if recorded.get("digest") not in (None, dataset.digest):
        raise InputError(f"the data '{name}:{split}' is not the data of record: its digest differs; restore that data.")
    known = known_classes(recorded)
    if known and known[-1] >= len(dataset.classes):
        raise InputError(f"the data '{name}' has no class {known[-1]}, which is of record; restore that data.")
    return relabelled(dataset, known) if known else dataset


def _hint(recorded: dict[str, Any], parents: Parents) -> Path | None:
    """Where a record on standard input says that the data lies: no artifact has a path."""
    digests = [str(recorded[key]) for key in ("digest", "train_digest") if recorded.get(key)]
    return next(filter(None, (parents.data_path(digest) for digest in digests)), None)


def _folder(name: str, hint: Path | None, settings: Settings) -> Path:
    """A folder of images: look where records point, below --data-root, and here."""
    places = [hint, settings.data_root / name if settings.data_root else None, Path(name)]
    found = next((place for place in places if place is not None and place.is_dir()), None)
    if found is None:
        raise UsageError(
            f"where the data 'folder:{name}' lies is not recorded; name the folder above it with --data-root, "
            "or the folder itself with --data folder:PATH."
        )
    return found


def _case(
    checkpoint: Artifact,
    dataset: Dataset,
    images: Artifact | None,
    settings: Settings,
    parents: Parents,
    known_only: bool,
) -> Case:
    meta, _ = read_meta(checkpoint.path)
    dataset = in_its_classes(meta, dataset)
    dataset = only_known(dataset) if known_only and dataset.known else dataset
    check_fit(meta, dataset, checkpoint.path.name)
    stem = (images or checkpoint).stem
    recorded = dict((images.parents.get("data") if images else None) or {})
    path = parents.data_path(str(recorded.get("digest")))
    return Case(checkpoint, meta, Inputs(dataset, select(dataset, settings)), images, stem, path)


def check_fit(meta: CheckpointMeta, dataset: Dataset, name: str) -> None:
    """Refuse data whose channels, size or number of classes are not the checkpoint's; warn of other class names."""
    shape = tuple(meta.shape)
    if dataset.shape != shape:
        raise InputError(f"'{name}' takes images of {_by(shape)}, but these are {_by(dataset.shape)}; name other data.")
    if dataset.classes and len(dataset.classes) != len(meta.classes):
        raise InputError(
            f"'{name}' knows {len(meta.classes)} classes, but the data has {len(dataset.classes)}; name other data."
        )
    if dataset.classes and tuple(dataset.classes) != tuple(meta.classes):
        warn(f"the class names of '{name}' and of the data differ; labels are compared by number.")


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(part) for part in shape)
