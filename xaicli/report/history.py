"""How a training went: what its checkpoint says of every epoch, drawn beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from xaicli.report.comparison import FOOLED, HELD, INK
from xaicli.report.figure import blank, drawn

CAPTION = "The training, epoch by epoch."
PANELS = ("loss", "cross_entropy", "kl", "accuracy", "lr", "epsilon")
COLOURS = (HELD, FOOLED, INK, "#e9c46a")


def curves(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """By panel, the figures that belong there as (epoch, value); what is in no epoch is left out."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {panel: {} for panel in PANELS}
    for entry in history:
        if not isinstance(entry.get("epoch"), int):
            continue
        for name, value in entry.items():
            panel = name if name in PANELS else name.rpartition("_")[2]
            if panel in found and isinstance(value, int | float):
                found[panel].setdefault(name, []).append((entry["epoch"], float(value)))
    return {panel: lines for panel, lines in found.items() if lines}


def history_picture(history: Sequence[Mapping[str, Any]]) -> Image.Image | None:
    """A panel each for loss and its terms, accuracies, learning rate and epsilon; None where nothing is known."""
    found = curves(history)
    if not found:
        return None
    figure = blank(1 + 3 * len(found), 2.6)
    for place, (panel, lines) in enumerate(found.items(), 1):
        axes = figure.add_subplot(1, len(found), place)
        for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
            label = name.replace("_", " ")
            axes.plot(*zip(*points, strict=True), color=colour, marker=".", markersize=4, label=label)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=8)
        axes.set_ylim(bottom=0, top=1 if panel == "accuracy" else None)
        axes.set_xlabel("epoch", color=INK)
        axes.set_ylabel(panel.replace("_", " "), color=INK)
        axes.locator_params(axis="x", integer=True)
    return drawn(figure)
