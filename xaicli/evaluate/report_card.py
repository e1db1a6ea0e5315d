"""How the scores of generated images read: which figures make them a report card, and what belongs to which."""

from __future__ import annotations

from collections.abc import Sequence

from xaicli.files.record import Record

FIGURES = (
    "target-accuracy",
    "judge-accuracy",
    "frechet-distance",
    "kernel-distance",
    "diversity",
    "relative-loss",
    "activation",
)
"""Metrics of generated images alone: where one of them is, the scores are a report card."""
PARTS = ("deviation", "ceiling", "floor")
"""Parts of a figure that are written below it."""


def measured_in(metric: str, records: Sequence[Record]) -> str:
    """A metric's name with the model in whose features its records are measured: FD(judge)."""
    models = {(record.get("details") or {}).get("model") for record in records}
    name = "FD" if metric == "frechet-distance" else metric
    if not any(models):
        return name
    return f"{name}({models.pop()})" if len(models) == 1 else f"{name}(each model's own)"


def is_unreliable(record: Record) -> bool:
    """Whether a figure is marked as one that cannot be relied on."""
    return bool((record.get("details") or {}).get("unreliable"))
