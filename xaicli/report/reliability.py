"""Reliability diagrams: how often a model is right where it says so, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from xaicli.report.comparison import FOOLED, HELD, INK
from xaicli.report.figure import blank, drawn

CAPTION = "Accuracy against confidence in bins of rows; below the dashed line a model is surer than it is right."
LINES = {"calibration": ("as it is", FOOLED), "calibration-scaled": ("scaled", HELD)}
LARGEST = 80  # points: the area of a dot that holds all rows


@dataclass(frozen=True)
class Diagram:
    """One model's bins of at least one row, (confidence, accuracy, rows), by what the line is called."""

    title: str
    lines: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)


def diagrams(scores: Sequence[Mapping[str, Any]]) -> list[Diagram]:
    """From the aggregates of a scores store to a diagram for each source that was asked how calibrated it is."""
    found: dict[int, Diagram] = {}
    for entry in scores:
        bins = entry.get("details", {}).get("bins")
        if bins and entry["metric"] in LINES:
            one = found.setdefault(entry["source"], Diagram(entry["method"]))
            points = [(bar["confidence"], bar["accuracy"], bar["n"]) for bar in bins]
            one.lines[LINES[entry["metric"]][0]] = points
    return list(found.values())


def reliability_picture(scores: Sequence[Mapping[str, Any]]) -> Image.Image | None:
    """A panel for each source; None where none was asked. A dot's area is its share of the rows."""
    found = diagrams(scores)
    if not found:
        return None
    figure = blank(1 + 3 * len(found), 3.4)
    for place, one in enumerate(found, 1):
        axes = figure.add_subplot(1, len(found), place)
        axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
        for label, colour in LINES.values():
            if label in one.lines:
                said, right, rows = zip(*one.lines[label], strict=True)
                axes.plot(said, right, color=colour, linewidth=1, label=label)
                axes.scatter(said, right, [LARGEST * n / sum(rows) for n in rows], color=colour, clip_on=False)
        axes.legend(frameon=False, fontsize=8)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_title(one.title, color=INK, fontsize=10)
        axes.set_xlabel("confidence", color=INK)
        axes.set_ylabel("accuracy", color=INK)
    return drawn(figure)
