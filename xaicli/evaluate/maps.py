"""Judging attributions: several explainers on the same rows, their controls beside them, one plan for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from xaicli.errors import InputError, UsageError
from xaicli.evaluate.aggregate import summarise_scores
from xaicli.evaluate.layout import scores_layout
from xaicli.evaluate.map_scorer import MapScorer
from xaicli.evaluate.metric import Metric, name_metrics, planned_forwards
from xaicli.evaluate.sources import common_index, find_sources, open_rows
from xaicli.evaluate.subject import Judged, Request
from xaicli.files.artifact import Artifact
from xaicli.files.parents import Parents
from xaicli.methods import parse_spec
from xaicli.run.blocks import Result, auto_block
from xaicli.run.device import memory_guard
from xaicli.run.inputs import Rows, match_rows
from xaicli.run.job import make_job
from xaicli.run.produce import Compute, Group, Planned
from xaicli.run.selection import choose
from xaicli.run.settings import Settings

WITH_MASKS = ("pointing-game", "relevance-mass")
REDUCTIONS = ("auto", "sum", "abs-sum", "max")


def judge_maps(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> Judged:
    """Plan the scores of all explainers on the rows that all stores hold."""
    if request.reduce not in REDUCTIONS:
        raise UsageError(f"--reduce '{request.reduce}' is unknown; use one of {', '.join(REDUCTIONS)}.")
    sources = find_sources(artifacts, parents)
    first = artifacts[0]
    index = common_index(sources)
    dataset, original = open_rows(first, parents, settings)
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
        work = MapScorer(sources, metrics, original, settings, request.reduce)

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
        summarise=summarise_scores,
    )
    names = ", ".join(metric.label for metric in metrics)
    return Judged(Group(inputs, [plan], ready, f"evaluate ({names})"), [source.parents for source in sources])


def _stem(artifact: Artifact) -> str:
    """The name of what was explained: the store's own name without its method."""
    stem, dot, _ = artifact.stem.rpartition(".")
    return stem if dot else artifact.stem


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
