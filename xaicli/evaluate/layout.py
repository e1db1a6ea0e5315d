"""The layout of a scores store, the same for every subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xaicli.evaluate.metric import Metric
from xaicli.evaluate.pairs import source_columns
from xaicli.files.columns import score_columns
from xaicli.files.layout import StoreLayout
from xaicli.run.inputs import Inputs
from xaicli.run.job import Job


def scores_layout(
    job: Job,
    lineage: Sequence[Mapping[str, Any]],
    inputs: Inputs,
    block: int,
    metrics: Sequence[Metric],
    sources: Sequence[Mapping[str, Any]],
    size: int,
    classes: Sequence[str],
) -> StoreLayout:
    """Columns `sources/<n>/<metric>` and mean curves `curves/<n>/<metric>`; `size` is the image's number of pixels."""
    points = {metric.label: metric.points(size) for metric in metrics if not metric.is_paired}
    return StoreLayout(
        kind="scores",
        job=job.document,
        history=(*lineage, job.document),
        rows=len(inputs),
        block=block,
        columns=score_columns(source_columns(metrics, sources), key_length=inputs.longest_key),
        curves={f"{n}/{label}": count for n in range(len(sources)) for label, count in points.items() if count},
        attributes={"classes": list(classes)},
        sources=tuple(sources),
    )
