"""Risk against coverage: what a model gets wrong of the share of rows that it is surest of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from xaicli.report.budget import COLOURS
from xaicli.report.comparison import INK
from xaicli.report.figure import blank, drawn

CAPTION = "Errors among the rows that are answered, the surest first; the dot is what the model does by its threshold."


@dataclass(frozen=True)
class Curve:
    """One model's selective risk, (coverage, risk), and where its threshold stands, if it has one."""

    title: str
    points: list[tuple[float, float]]
    stands: tuple[float, float] | None


def risk_curves(scores: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """From the aggregates of a scores store to a curve for each source that was judged by what it is sure of."""
    found = []
    for entry in scores:
        curve = entry.get("details", {}).get("curve")
        if curve:
            beside = {
                part: other["value"]
                for other in scores
                for part in ("coverage", "accuracy")
                if (other["source"], other["metric"]) == (entry["source"], f"{entry['metric']}-{part}")
            }
            known = None not in (beside.get("coverage"), beside.get("accuracy"))
            stands = (beside["coverage"], 1 - beside["accuracy"]) if known else None
            found.append(Curve(entry["method"], [(coverage, risk) for coverage, risk in curve], stands))
    return found


def risk_picture(scores: Sequence[Mapping[str, Any]]) -> Image.Image | None:
    """A line for each model; None where none was asked."""
    found = risk_curves(scores)
    if not found:
        return None
    figure = blank(4.6, 3.2)
    axes = figure.add_subplot()
    for number, one in enumerate(found):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(*zip(*one.points, strict=True), color=colour, label=one.title)
        if one.stands is not None:
            axes.plot(*one.stands, color=colour, marker="o", clip_on=False)
    axes.legend(frameon=False, fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.set_xlabel("coverage", color=INK)
    axes.set_ylabel("risk", color=INK)
    return drawn(figure)
