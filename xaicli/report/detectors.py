"""How well every detector tells known rows from unknown ones: areas under the ROC curve with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from xaicli.report.budget import COLOURS
from xaicli.report.comparison import INK
from xaicli.report.figure import blank, drawn

CAPTION = "Area under the ROC curve of every detector against each source of unknown rows; 0.5 (dashed) is chance."
FIGURE = "open-set-auroc@"

Areas = dict[str, dict[str, tuple[float, float | None, float | None]]]


def areas(scores: Sequence[Mapping[str, Any]]) -> list[tuple[str, Areas]]:
    """For each source of a scores store that was asked, its name and, by unknown data and detector, area and bounds."""
    found: dict[int, tuple[str, Areas]] = {}
    for entry in scores:
        if entry["metric"].startswith(FIGURE) and entry["value"] is not None:
            _, own = found.setdefault(entry["source"], (entry["method"], {}))
            against = own.setdefault(entry["metric"].removeprefix(FIGURE), {})
            against[entry["detector"]] = (entry["value"], entry["low"], entry["high"])
    return list(found.values())


def detectors_picture(scores: Sequence[Mapping[str, Any]]) -> Image.Image | None:
    """A panel for each source, a line for each detector; None where none was asked."""
    found = areas(scores)
    if not found:
        return None
    most = max(len(own) for _, sources in found for own in sources.values())
    figure = blank(1 + 4 * len(found), 1.2 + 0.24 * most)
    for place, (title, sources) in enumerate(found, 1):
        axes = figure.add_subplot(1, len(found), place)
        names = list(dict.fromkeys(name for own in sources.values() for name in own))
        for number, (source, own) in enumerate(sources.items()):
            heights = [names.index(name) + 0.22 * (number - (len(sources) - 1) / 2) for name in own]
            values, lows, highs = zip(*own.values(), strict=True)
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(values, heights, "o", markersize=4, color=colour, label=source)
            if None not in lows:
                axes.hlines(heights, lows, highs, color=colour)
        axes.axvline(0.5, color=INK, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.legend(frameon=False, fontsize=8)
        axes.set_xlim(right=1.005)
        axes.set_title(title, color=INK, fontsize=10)
        axes.set_xlabel("AUROC", color=INK)
    return drawn(figure)
