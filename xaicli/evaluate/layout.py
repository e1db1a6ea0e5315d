"""The layout of a scores store, the same for every subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xaicli.evaluate.metric import Metric
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
    columns = [label for metric in metrics for label in metric.columns]
    points = {metric.label: metric.points(size) for metric in metrics}
    return StoreLayout(
        kind="scores",
        job=job.document,
        history=(*lineage, job.document),
        rows=len(inputs),
        block=block,
        columns=score_columns([columns] * len(sources), key_length=inputs.longest_key),
        curves={f"{n}/{label}": count for n in range(len(sources)) for label, count in points.items() if count},
        attributes={"classes": list(classes)},
        sources=tuple(sources),
    )
