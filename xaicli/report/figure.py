"""Figures of matplotlib as pictures: made without a display, and the same bytes every time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100


def blank(width: float, height: float) -> Figure:
    """An empty white figure of this size in inches, whose parts make room for each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawn(figure: Figure) -> Image.Image:
    """The figure in pixels; its panels lose the lines above and on the right."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return Image.open(buffer).convert("RGB")
