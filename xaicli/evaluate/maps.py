"""Judging attributions: several explainers on the same rows, their controls beside them, one plan for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError, UsageError
from xaicli.evaluate.aggregate import summarise_metrics
from xaicli.evaluate.layout import scores_layout
from xaicli.evaluate.metric import Metric, name_metrics, planned_forwards
from xaicli.evaluate.queries import EVALUATE, Subject
from xaicli.evaluate.subject import Judged, Request
from xaicli.explain.quantity import Target
from xaicli.explain.run import Explainer, answers_for
from xaicli.files.artifact import Artifact
from xaicli.files.columns import Status
from xaicli.files.parents import Parents
from xaicli.files.store import Store, open_store
from xaicli.methods import parse_spec
from xaicli.models.load import load_classifier
from xaicli.run.blocks import Columns, Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import reopen_data
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Rows, match_rows
from xaicli.run.job import make_job
from xaicli.run.plan import Answers
from xaicli.run.produce import Compute, Group, Planned
from xaicli.run.selection import choose
from xaicli.run.settings import Settings
from xaicli.run.stored import open_stored_images

CONTROLS = ("random", "edges")
WITH_MASKS = ("pointing-game", "relevance-mass")
REDUCTIONS = ("auto", "sum", "abs-sum", "max")


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


def judge_maps(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> Judged:
    """Plan the scores of all explainers on the rows that all stores hold."""
    if request.reduce not in REDUCTIONS:
        raise UsageError(f"--reduce '{request.reduce}' is unknown; use one of {', '.join(REDUCTIONS)}.")
    sources = _sources(artifacts, parents)
    first = artifacts[0]
    index = _common_index(sources)
    dataset, original = _open_rows(first, request, parents, settings)
    chosen = choose(
        original.name if original else dataset.name, sources[0].store.column("label").astype(np.int64), settings
    )
    inputs = match_rows(dataset, index[chosen], first.path.name)
    has_masks = original is not None and original.masks([0]) is not None
    metrics = _fit_to_masks(metrics, request, has_masks)
    size = dataset.height * dataset.width
    subjects = {(source.checkpoint.id, source.artifact.job["target"]) for source in sources}
    forwards = planned_forwards(metrics, len(sources), size, len(subjects))
    block = auto_block(forwards, settings.block)
    documents = [source.document for source in sources]
    job = make_job(
        "evaluate",
        None,
        {"attributions": [artifact.id for artifact in artifacts], "masks": original.digest if original else None},
        settings,
        block=block,
        extra={"metrics": [[metric.spec.name, metric.spec.record] for metric in metrics], "reduce": request.reduce},
    )
    job = replace(job, suffix=job.suffix or bool(request.metrics) or len(artifacts) > 1)
    layout = scores_layout(job, first.history, inputs, block, metrics, documents, size, dataset.classes)

    def ready() -> Compute:
        work = _Work(sources, metrics, original, settings, request.reduce)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                columns, curves = work.score(rows)
            return {0: Result(columns, curves)}

        return compute

    plan = Planned(
        job,
        f"{_stem(first)}.scores",
        layout,
        forwards,
        {"attributions": [source.parents["attributions"] for source in sources if source.control is None]},
        summarise=summarise_metrics(metrics, documents, settings.seed),
    )
    names = ", ".join(metric.label for metric in metrics)
    return Judged(Group(inputs, [plan], ready, f"evaluate ({names})"), [source.parents for source in sources])


def _stem(artifact: Artifact) -> str:
    """The name of what was explained: the store's own name without its method."""
    stem, dot, _ = artifact.stem.rpartition(".")
    return stem if dot else artifact.stem


def _sources(artifacts: Sequence[Artifact], parents: Parents) -> list[Source]:
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


def _common_index(sources: Sequence[Source]) -> npt.NDArray[np.int64]:
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


def _open_rows(
    artifact: Artifact, request: Request, parents: Parents, settings: Settings
) -> tuple[Dataset, Dataset | None]:
    """The images that were explained, and the data set they come from where it is at hand (for masks)."""
    recorded = artifact.parents.get("data")
    images = artifact.parents.get("images")
    store = open_store(artifact.path)
    _, _, height, width = store.shape("attribution")
    shape = None if images else _image_shape(artifact, parents, (height, width))
    original = None
    if recorded and recorded.get("name"):
        try:
            original = reopen_data(recorded, shape or _stored_shape(images, artifact, parents), parents, settings)
        except UsageError:
            if not images:
                raise
    if images:
        return open_stored_images(parents.find("images", str(images), artifact).path), original
    if original is None:
        raise UsageError(f"'{artifact.path.name}' does not name its data; give its images store as a SOURCE.")
    return original, original


def _image_shape(artifact: Artifact, parents: Parents, size: tuple[int, int]) -> tuple[int, int, int]:
    from xaicli.files.checkpoint import read_meta

    meta, _ = read_meta(parents.find("checkpoint", str(artifact.parents["checkpoint"]), artifact).path)
    return meta.shape[0], *size


def _stored_shape(images: Any, artifact: Artifact, parents: Parents) -> tuple[int, int, int]:
    return open_stored_images(parents.find("images", str(images), artifact).path).shape


def _fit_to_masks(metrics: Sequence[Metric], request: Request, has_masks: bool) -> list[Metric]:
    """With masks and no metric named, localisation is judged too; without masks it cannot be."""
    needing = [metric.spec.name for metric in metrics if "mask" in metric.needs]
    if needing and not has_masks:
        raise InputError(
            f"'{needing[0]}' needs object masks, which this data does not have; use --data shapes or leave it out."
        )
    if has_masks and not request.metrics:
        return [*metrics, *name_metrics([parse_spec("evaluate", name) for name in WITH_MASKS])]
    return list(metrics)


class _Work:
    """The open models and stores of one run."""

    def __init__(
        self,
        sources: Sequence[Source],
        metrics: Sequence[Metric],
        original: Dataset | None,
        settings: Settings,
        reduce: str,
    ) -> None:
        device = prepare(settings)
        self.sources, self.metrics, self.original = sources, metrics, original
        self.settings, self.reduce = settings, reduce
        self.calls: dict[str, Calls] = {}
        for source in sources:
            if source.checkpoint.id not in self.calls:
                classifier = load_classifier(source.checkpoint.path, device=device, arch=settings.arch)
                self.calls[source.checkpoint.id] = Calls(classifier, batch_size=settings.call_rows)
        self.needs_mask = any("mask" in metric.needs for metric in metrics)
        self.index = sources[0].store.column("index").astype(np.int64)

    def score(self, rows: Rows) -> tuple[Columns, Columns]:
        """Columns and curves of one unit of rows, over all sources and metrics."""
        where = np.searchsorted(self.index, rows.index)
        columns: Columns = {}
        curves: Columns = {}
        status = np.full(len(rows), Status.OK, dtype=np.uint8)
        shared: dict[tuple[str, bytes], Answers] = {}
        samples = rows.columns()["sample"]
        mask = self._masks(rows)
        for number, source in enumerate(self.sources):
            names = ["target", "against", "status", "sample"]
            held = source.store.read(where, names if source.control else [*names, "attribution"])
            if not np.array_equal(held["sample"], samples):
                raise InputError(
                    f"the images are not those that '{source.store.path.name}' was made from; restore its own data."
                )
            status = np.where(status == Status.OK, held["status"], status)
            answers = self._answers(source, held, rows, shared)
            maps = self._maps(source, held, rows)
            root = {"attribution": maps, "mask": mask} if mask is not None else {"attribution": maps}
            seen = answers.within(root)
            for metric in self.metrics:
                found, curve = metric.evaluate(seen)
                columns |= {f"sources/{number}/{label}": values for label, values in found.items()}
                curves |= {f"{number}/{label}": values for label, values in curve.items()}
        return {**columns, "status": status.astype(np.uint8)}, curves

    def _answers(self, source: Source, held: Columns, rows: Rows, shared: dict[tuple[str, bytes], Answers]) -> Answers:
        """Answers that sources of the same checkpoint and the same targets share."""
        key = (source.checkpoint.id, held["target"].tobytes() + held["against"].tobytes())
        if key not in shared:
            calls = self.calls[source.checkpoint.id]
            subject = Subject(
                calls,
                torch.as_tensor(rows.pixels).to(calls.device, calls.dtype),
                torch.as_tensor(held["target"].astype(np.int64)).to(calls.device),
                torch.as_tensor(held["against"].astype(np.int64)).to(calls.device),
            )
            roots = {"subject": subject, "labels": torch.as_tensor(rows.labels).to(calls.device)}
            index = tuple(int(number) for number in rows.index)
            shared[key] = Answers(EVALUATE, roots, seed=self.settings.seed, index=index)
        return shared[key]

    def _maps(self, source: Source, held: Columns, rows: Rows) -> Tensor:
        """The source's maps reduced to one value per pixel, [n, H, W]."""
        calls = self.calls[source.checkpoint.id]
        if source.control is not None:
            answers = answers_for(rows, calls, Target("predicted"), "logit", self.settings.seed)
            maps, how = source.control.attribution(answers)[0], source.control.reduce
        else:
            maps = torch.as_tensor(held["attribution"].astype(np.float32)).to(calls.device, calls.dtype)
            how = str(source.store.attributes.get("reduce", "sum"))
        return reduce_maps(maps.nan_to_num(), how if self.reduce == "auto" else self.reduce)

    def _masks(self, rows: Rows) -> Tensor | None:
        if not self.needs_mask or self.original is None:
            return None
        masks = self.original.masks(match_rows(self.original, rows.index, "the images").positions)
        device = next(iter(self.calls.values())).device
        return None if masks is None else torch.as_tensor(masks).to(device)


def reduce_maps(maps: Tensor, how: str) -> Tensor:
    """Maps [n, C, H, W] as one value per pixel [n, H, W]: the channels' sum, sum of absolute values, or maximum."""
    if how == "abs-sum":
        return maps.abs().sum(1)
    return maps.amax(1) if how == "max" else maps.sum(1)
