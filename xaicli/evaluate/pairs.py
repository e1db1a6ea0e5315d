"""Metrics of two explainers: which pairs there are, where their scores are stored, and what becomes of them.

A pair's score of a row is a column of the source that comes first, `sources/<n>/<metric>-with-<m>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.evaluate.metric import Metric
from xaicli.evaluate.statistics import mean_estimate
from xaicli.files.merge import MergedRows


def pairs(sources: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """The explainers of one checkpoint, each with each, and the same method with the same options of two checkpoints.

    sources: as a scores store lists them.
    """
    return [
        (one, other)
        for one, other in combinations(range(len(sources)), 2)
        if sources[one]["checkpoint"] == sources[other]["checkpoint"]
        or (sources[one]["method"], sources[one]["options"]) == (sources[other]["method"], sources[other]["options"])
    ]


def paired(label: str, other: int) -> str:
    """The column of a pair's score below its first source."""
    return f"{label}-with-{other}"


def source_columns(metrics: Sequence[Metric], sources: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The columns of every source, those of its pairs included."""
    columns = [[label for metric in metrics if not metric.is_paired for label in metric.columns] for _ in sources]
    labels = [label for metric in metrics if metric.is_paired for label in metric.columns]
    if labels:
        for one, other in pairs(sources):
            columns[one] += [paired(label, other) for label in labels]
    return columns


def summarise_pairs(rows: MergedRows, metrics: Sequence[Metric], ok: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """One mean with its interval for each pair and column; ok: the rows that count."""
    return [
        {
            "source": one,
            "with": other,
            "metric": label,
            "options": metric.spec.record,
            **asdict(
                mean_estimate(rows.column(f"sources/{one}/{paired(label, other)}")[ok], seed=rows.layout.job["seed"])
            ),
        }
        for metric in metrics
        if metric.is_paired
        for label in metric.columns
        for one, other in pairs(rows.layout.sources)
    ]
