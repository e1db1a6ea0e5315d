"""Judging models on data, and attacked images under their models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset, to_float
from xaicli.errors import InputError, UsageError
from xaicli.evaluate.aggregate import summarise_scores
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.held_out import held_out
from xaicli.evaluate.layout import scores_layout
from xaicli.evaluate.metric import Metric, planned_forwards, title
from xaicli.evaluate.neighbours import TrainingRows, read_pieces
from xaicli.evaluate.queries import EVALUATE
from xaicli.evaluate.subject import EVERY, Judged, Request
from xaicli.evaluate.temperature import HeldOut
from xaicli.evaluate.trained import Seen
from xaicli.explain.training import Training, compute_training
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import CheckpointMeta
from xaicli.files.columns import Status
from xaicli.files.parents import Parents
from xaicli.files.sources import Sources
from xaicli.models.load import load_classifier
from xaicli.run.blocks import Columns, Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, gather_cases, reopen_data
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Inputs, Rows, match_rows
from xaicli.run.job import make_job
from xaicli.run.plan import Answers
from xaicli.run.produce import Compute, Group, Planned
from xaicli.run.settings import Settings

WORST = "worst-case"


@dataclass(frozen=True)
class Source:
    """One checkpoint with the images it is judged on; `of` lists the sources whose worst case this one is."""

    method: str
    options: Mapping[str, Any]
    case: Case
    inputs: Inputs
    of: tuple[int, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """What the scores store says of this source: no path."""
        images = self.case.images
        parents = {"checkpoint": {"id": self.case.checkpoint.id}}
        if images is not None and not self.of:
            parents["images"] = {"id": images.id}
        return {
            "id": images.id if images is not None and not self.of else None,
            "method": self.method,
            "options": dict(self.options),
            "checkpoint": self.case.checkpoint.id,
            "parents": parents,
        }

    @property
    def parents(self) -> dict[str, Any]:
        """The parents as records show them."""
        whole = self.case.record_parents
        return {role: whole[role] for role in self.document["parents"]} | {"data": whole["data"]}


def judge_models(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> Judged:
    """Plan the scores of checkpoints on the same rows of a data set."""
    cases = gather_cases(request.sources, parents, request.data, settings)
    sources = [Source(recipe_of(case), {}, case, case.inputs) for case in cases]
    if EVERY in request.metrics and not all(training_data(case.meta) for case in cases):
        metrics = [metric for metric in metrics if "training" not in metric.needs]
    wanted = any("held_out" in metric.needs for metric in metrics)
    held = {case.checkpoint.id: held_out(case, parents, settings) for case in cases} if wanted else {}
    return judge_rows(
        sources, request, metrics, None, settings, lambda case: _training_rows(case, parents, settings), held=held
    )


def judge_images(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> Judged:
    """Plan the scores of attacked images under the checkpoints given, or under their own."""
    cases = gather_cases(Sources(request.sources.artifacts, request.sources.hints), parents, request.data, settings)
    sources = [_images_source(case) for case in cases]
    groups: dict[str, list[int]] = {}
    for number, source in enumerate(sources):
        groups.setdefault(source.case.checkpoint.id, []).append(number)
    if any(metric.spec.name == "robust-accuracy" for metric in metrics):
        sources += [
            Source(WORST, {}, sources[members[0]].case, sources[members[0]].inputs, tuple(members))
            for members in groups.values()
            if len(members) > 1
        ]
    original = None
    if any("clean" in metric.needs for metric in metrics):
        images = cases[0].images
        recorded = dict(images.parents.get("data") or {}) if images is not None else {}
        if not recorded.get("name"):
            raise InputError("the images do not name the data they come from, so their change cannot be measured.")
        original = reopen_data(recorded, cases[0].inputs.dataset.shape, parents, settings)
    return judge_rows(sources, request, metrics, original, settings)


def recipe_of(case: Case) -> str:
    """The recipe that a checkpoint was trained by."""
    return str((case.meta.recipe or {}).get("name") or "imported")


def _images_source(case: Case) -> Source:
    assert case.images is not None
    return Source(str(case.images.job["method"]), case.images.job["options"], case, case.inputs)


def judge_rows(
    sources: Sequence[Source],
    request: Request,
    metrics: Sequence[Metric],
    original: Dataset | None,
    settings: Settings,
    training: Callable[[Case], TrainingRows] | None = None,
    seen: Seen | None = None,
    held: Mapping[str, HeldOut] = MappingProxyType({}),
) -> Judged:
    """Plan the scores of sources on the same rows.

    training, seen, held (by the checkpoint's id): what some metrics ask of checkpoints' trainings.
    """
    first = sources[0]
    for source in sources[1:]:
        if not np.array_equal(source.inputs.index, first.inputs.index) or _data(source) != _data(first):
            raise InputError(
                f"'{first.case.stem}' and '{source.case.stem}' are not judged on the same samples; "
                "give both the same rows."
            )
    dataset = first.inputs.dataset
    size = dataset.height * dataset.width
    asked = [source for source in sources if not source.of]
    forwards = planned_forwards(metrics, 0, size, len(asked))
    block = auto_block(forwards, settings.block)
    documents = [source.document for source in sources]
    job = make_job(
        "evaluate",
        None,
        {"sources": [[d["checkpoint"], d["id"]] for d in documents], "data": _data(first)},
        settings,
        block=block,
        extra={
            "metrics": [[metric.spec.name, metric.spec.record] for metric in metrics],
            **({"trained": [dict(facts) for facts in seen.facts]} if seen is not None else {}),
            **({"held_out": [dict(held[d["checkpoint"]].facts) for d in documents]} if held else {}),
        },
    )
    job = replace(job, suffix=job.suffix or bool(request.metrics or request.data) or len(asked) > 1)
    layout = scores_layout(
        job, first.case.lineage, first.inputs, block, metrics, documents, size, first.case.meta.classes
    )

    def ready() -> Compute:
        work = _Work(sources, metrics, original, settings, training, seen, held)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                return {0: Result(work.score(rows))}

        return compute

    shown = {"checkpoint": first.parents["checkpoint"]} if len({s.case.checkpoint.id for s in sources}) == 1 else {}
    plan = Planned(
        job,
        f"{first.case.stem}.scores",
        layout,
        forwards,
        {**shown, "data": first.parents["data"]},
        summarise=summarise_scores,
    )
    return Judged(
        Group(first.inputs, [plan], ready, f"evaluate ({title(metrics)})"), [source.parents for source in sources]
    )


def _data(source: Source) -> Any:
    return source.case.job_parents["data"]


def training_data(meta: CheckpointMeta) -> dict[str, Any]:
    """What a checkpoint says of the data it was trained on; empty if it does not name any."""
    recorded = dict(meta.data or {})
    return recorded if recorded.get("name") else {}


def _training_rows(case: Case, parents: Parents, settings: Settings) -> TrainingRows:
    """What a checkpoint was trained on, opened when it is first needed."""
    recorded, dataset = {**training_data(case.meta), "split": "train"}, case.inputs.dataset
    if not training_data(case.meta):
        raise UsageError(
            f"'{case.checkpoint.path.name}' does not say what data it was trained on, so it has no neighbours there; "
            "leave class-consistency out."
        )

    @cache
    def training() -> Dataset:
        return reopen_data(recorded, case.meta.shape, parents, settings)

    @cache
    def features(calls: Calls) -> Training:
        return compute_training(training(), calls)

    numbered = dataset.name == recorded["name"] and dataset.split != "test"
    return TrainingRows(lambda: read_pieces(training()), features, numbered)


class _Work:
    """The open models of one run."""

    def __init__(
        self,
        sources: Sequence[Source],
        metrics: Sequence[Metric],
        original: Dataset | None,
        settings: Settings,
        training: Callable[[Case], TrainingRows] | None,
        seen: Seen | None,
        held: Mapping[str, HeldOut],
    ) -> None:
        device = prepare(settings)
        self.seen, self.held = seen, held
        self.sources, self.metrics, self.original, self.seed = sources, metrics, original, settings.seed
        self.index = sources[0].inputs.index
        self.calls: dict[str, Calls] = {}
        for source in sources:
            checkpoint = source.case.checkpoint
            if checkpoint.id not in self.calls:
                classifier = load_classifier(checkpoint.path, device=device, arch=settings.arch)
                self.calls[checkpoint.id] = Calls(classifier, batch_size=settings.call_rows)
        self.training: dict[str, TrainingRows] = {}
        if training is not None and any("training" in metric.needs for metric in metrics):
            self.training = {source.case.checkpoint.id: training(source.case) for source in sources}

    def score(self, rows: Rows) -> Columns:
        """Columns of some rows over all sources and metrics."""
        columns: Columns = {}
        status = np.full(len(rows), Status.OK, dtype=np.uint8)
        start = int(np.searchsorted(self.index, rows.index[0]))
        for number, source in enumerate(self.sources):
            if source.of:
                columns |= self._worst(number, source.of, columns)
                continue
            here = rows if source.inputs is self.sources[0].inputs else source.inputs.load(start, start + len(rows))
            status = np.where(status == Status.OK, here.status, status)
            answers = self._answers(source, here)
            logits = answers.ask("logits", {})
            status[~torch.isfinite(logits).all(1).cpu().numpy()] = Status.NON_FINITE
            for metric in self.metrics:
                found, _ = metric.evaluate(answers)
                columns |= {f"sources/{number}/{label}": values for label, values in found.items()}
        return {**columns, "status": status.astype(np.uint8)}

    def _answers(self, source: Source, rows: Rows) -> Answers:
        calls = self.calls[source.case.checkpoint.id]
        images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
        labels = torch.as_tensor(rows.labels).to(calls.device)
        nothing = torch.full_like(labels, 65535)
        roots: dict[str, Any] = {"subject": Subject(calls, images, labels, nothing), "labels": labels}
        if self.original is not None:
            roots["clean"] = self._clean(rows, images)
        if self.training:
            roots["training"] = self.training[source.case.checkpoint.id]
        if self.held:
            roots["held_out"] = self.held[source.case.checkpoint.id]
        if self.seen is not None:
            roots["trained"] = self.seen.rows[source.case.checkpoint.id].of(rows.index, calls.device)
        return Answers(EVALUATE, roots, seed=self.seed, index=tuple(int(number) for number in rows.index))

    def _clean(self, rows: Rows, images: Tensor) -> Tensor:
        assert self.original is not None
        positions = match_rows(self.original, rows.index, "the images").positions
        return torch.as_tensor(to_float(self.original.read(positions).pixels)).to(images)

    def _worst(self, number: int, members: Sequence[int], columns: Columns) -> Columns:
        """Robust accuracy where a row counts only if it is right under every attack; other metrics are undefined."""
        found: Columns = {}
        for metric in self.metrics:
            for label in metric.columns:
                parts = np.stack([columns[f"sources/{member}/{label}"] for member in members])
                worst = parts.min(0) if metric.spec.name == "robust-accuracy" else np.full_like(parts[0], np.nan)
                found[f"sources/{number}/{label}"] = worst
        return found
