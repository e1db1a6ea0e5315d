"""The plan of one scores store: models judged on the same rows, of data or of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError
from xaicli.evaluate.aggregate import summarise_scores
from xaicli.evaluate.companions import Companions
from xaicli.evaluate.layout import scores_layout
from xaicli.evaluate.metric import Metric, planned_forwards, title
from xaicli.evaluate.model_scorer import ModelScorer
from xaicli.evaluate.neighbours import TrainingRows
from xaicli.evaluate.refusals import Refusals
from xaicli.evaluate.subject import Judged, Request, Source
from xaicli.evaluate.temperature import HeldOut
from xaicli.evaluate.trained import Seen
from xaicli.run.blocks import Result, auto_block
from xaicli.run.cases import Case
from xaicli.run.device import memory_guard
from xaicli.run.inputs import Rows
from xaicli.run.job import make_job
from xaicli.run.posterior import usual_draws
from xaicli.run.produce import Compute, Group, Planned
from xaicli.run.settings import Settings


def judge_rows(
    sources: Sequence[Source],
    request: Request,
    metrics: Sequence[Metric],
    original: Dataset | None,
    settings: Settings,
    training: Callable[[Case], TrainingRows] | None = None,
    seen: Seen | None = None,
    held: Mapping[str, HeldOut] = MappingProxyType({}),
    companions: Companions | None = None,
    unknown: Refusals | None = None,
) -> Judged:
    """Plan the scores of sources on the same rows.

    training, seen, held (by the checkpoint's id): what some metrics ask of checkpoints' trainings. companions: what
    those of generated images ask for. unknown: which rows are of no class that the checkpoints know, and what is asked
    of them.
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
    networks = sum(max(usual_draws(source.case.meta), 1) for source in asked)
    forwards = planned_forwards(metrics, 0, size, networks)
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
            **({"card": [dict(facts) for facts in companions.facts]} if companions is not None else {}),
            **({"open": unknown.document([source.case for source in sources])} if unknown is not None else {}),
        },
    )
    job = replace(job, suffix=job.suffix or bool(request.metrics or request.data) or len(asked) > 1)
    layout = scores_layout(
        job, first.case.lineage, first.inputs, block, metrics, documents, size, first.case.meta.classes
    )

    def ready() -> Compute:
        work = ModelScorer(sources, metrics, original, settings, training, seen, held, unknown or companions)

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
