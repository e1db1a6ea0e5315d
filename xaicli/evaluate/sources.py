"""Whose maps are judged: the stores given, their controls, and the images that they explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError, UnavailableError, UsageError
from xaicli.evaluate.again import Asked
from xaicli.explain.model import Question
from xaicli.explain.quantity import asks_refusal
from xaicli.explain.run import Explainer
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import read_meta
from xaicli.files.parents import Parents
from xaicli.files.store import Store, open_store
from xaicli.run.cases import reopen_data
from xaicli.run.settings import Settings
from xaicli.run.stored import open_stored_images
from xaicli.specs import Spec, parse_spec, recorded_spec

CONTROLS = ("random", "edges")


@dataclass(frozen=True)
class Source:
    """One explainer to be judged: a store of maps, or a control that is computed beside it."""

    method: str
    options: Mapping[str, Any]
    artifact: Artifact  # of a control: the first store of its checkpoint, whose rows and targets it takes
    checkpoint: Artifact
    control: Explainer | None = None

    @cached_property
    def store(self) -> Store:
        """The store, opened once."""
        return open_store(self.artifact.path)

    @cached_property
    def question(self) -> Question:
        """Which function of the checkpoint the maps explain, and metrics ask."""
        job = self.artifact.job
        draws = job["options"].get("draws") if job.get("verb") == "explain" else None
        return Question(draws if type(draws) is int and draws >= 0 else None, explains_refusal(self.artifact))

    @property
    def model(self) -> tuple[str, int, Question]:
        """What tells the models of a run apart: checkpoint, seed of what is drawn, and question."""
        seed = self.artifact.job.get("seed")
        return self.checkpoint.id, seed if isinstance(seed, int) else 0, self.question

    @property
    def reduce(self) -> str:
        """How the method's channels become one value per pixel."""
        return self.control.reduce if self.control else str(self.store.attributes.get("reduce", "sum"))

    @property
    def is_known(self) -> bool:
        """Whether its explainer can be asked again."""
        with suppress(UnavailableError):
            return bool(self.control or _known_method(self.artifact))
        return False

    def asked(self, reduce: str, seed: int) -> Asked:
        """How its explainer is to be asked again: as it was for the store.

        reduce, seed: of this run; the seed is a control's. Raises UnavailableError for maps that were not made here.
        """
        job, how = self.artifact.job, self.reduce if reduce == "auto" else reduce
        if self.control is not None:
            return Asked(self.control, "logit", seed, how)
        spec = _known_method(self.artifact)
        return Asked(Explainer(spec), str(job["quantity"]), int(job["seed"]), how, half=job.get("dtype") == "float16")

    @property
    def document(self) -> dict[str, Any]:
        """What the scores store says of this source: no path."""
        id = None if self.control else self.artifact.id
        parents = {"checkpoint": {"id": self.checkpoint.id}, "attributions": {"id": id} if id else None}
        return {
            "id": id,
            "method": self.method,
            "options": dict(self.options),
            "checkpoint": self.checkpoint.id,
            "parents": {role: parent for role, parent in parents.items() if parent},
        }

    @property
    def parents(self) -> dict[str, Any]:
        """The parents as records show them."""
        parents = {"checkpoint": {"id": self.checkpoint.id, "path": str(self.checkpoint.path)}}
        if self.control is None:
            parents["attributions"] = {"id": self.artifact.id, "path": str(self.artifact.path)}
        return parents


def _known_method(artifact: Artifact) -> Spec:
    """The method of a store, with its options; UnavailableError for one that cannot be asked again."""
    job, name = artifact.job, artifact.path.name
    if job.get("verb") != "explain":
        raise UnavailableError(
            f"'{name}' holds imported maps, whose explainer cannot be asked again; leave out the metrics that do."
        )
    try:
        spec = recorded_spec("explain", str(job["method"]), job["options"])
    except UsageError:
        spec = None
    plugin = spec.method.plugin if spec else None
    if spec is None or (dict(plugin.identity) if plugin else None) != job.get("plugin"):
        raise UnavailableError(
            f"'{name}' was made by a '{job['method']}' that is not here to be asked again; "
            "install the package that it came from, or leave out the metrics that ask again."
        )
    return spec


def explains_refusal(artifact: Artifact) -> bool:
    """Whether a store explains what the checkpoint's detector says, and no class."""
    with open_store(artifact.path) as store:
        return asks_refusal(str(artifact.job.get("target")), store.attributes.get("classes", ()))


def find_sources(artifacts: Sequence[Artifact], parents: Parents) -> list[Source]:
    """The stores in the order given, then for each checkpoint the controls that are not among them."""
    given = [
        Source(
            str(artifact.job["method"]),
            artifact.job["options"],
            artifact,
            parents.find("checkpoint", str(artifact.parents["checkpoint"]), artifact),
        )
        for artifact in artifacts
    ]
    controls = []
    for checkpoint in {source.checkpoint.id: source for source in given}.values():
        present = {source.method for source in given if source.checkpoint.id == checkpoint.checkpoint.id}
        for name in CONTROLS:
            if name not in present:
                spec = parse_spec("explain", name)
                controls.append(
                    Source(name, spec.record, checkpoint.artifact, checkpoint.checkpoint, control=Explainer(spec))
                )
    return [*given, *controls]


def common_index(sources: Sequence[Source]) -> npt.NDArray[np.int64]:
    """The rows' numbers; InputError unless all stores hold the same samples."""
    first = sources[0].store
    index, samples = first.column("index"), first.column("sample")
    for source in sources[1:]:
        same = len(source.store) == len(first) and np.array_equal(source.store.column("index"), index)
        if not same or not np.array_equal(source.store.column("sample"), samples):
            raise InputError(
                f"'{first.path.name}' and '{source.store.path.name}' do not hold the same samples; "
                "explain the same rows."
            )
    return index.astype(np.int64)


def open_rows(artifact: Artifact, parents: Parents, settings: Settings) -> tuple[Dataset, Dataset | None]:
    """The images that were explained, and the data set whose rows they are where it is at hand (for masks)."""
    recorded = dict(artifact.parents.get("data") or {})
    id = artifact.parents.get("images")
    if id is None:
        if not recorded.get("name"):
            raise UsageError(f"'{artifact.path.name}' does not name its data; give its images store as a SOURCE.")
        meta, _ = read_meta(parents.find("checkpoint", str(artifact.parents["checkpoint"]), artifact).path)
        original = reopen_data(recorded, meta.shape, parents, settings)
        return original, original
    images = parents.find("images", str(id), artifact)
    dataset = open_stored_images(images.path)
    if images.job.get("verb") != "attack" or not recorded.get("name"):
        return dataset, None  # generated images are no rows of a data set
    try:
        return dataset, reopen_data(recorded, dataset.shape, parents, settings)
    except UsageError:  # a folder that is not at hand: all but masks can be judged
        return dataset, None
