"""Reliability diagrams: which points they hold, and where the lines run."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from xaicli.report.reliability import Diagram, diagrams, reliability_picture

RED, GREEN = (0xC1, 0x12, 0x1F), (0x2A, 0x9D, 0x8F)


def entry(metric: str, source: int, *bins: tuple[float, float, int]) -> dict[str, Any]:
    held = [{"bin": 0, "confidence": c, "accuracy": a, "n": n} for c, a, n in bins]
    return {"metric": metric, "source": source, "method": f"recipe-{source}", "details": {"bins": held}}


SURE = entry("calibration", 0, (0.5, 0.1, 10), (0.9, 0.4, 30))
SCALED = entry("calibration-scaled", 0, (0.2, 0.6, 10), (0.4, 0.95, 30))
OTHERS = [{"metric": "accuracy", "source": 0, "method": "recipe-0"}, entry("calibration-scaled", 1)]


def test_every_source_has_its_own_lines() -> None:
    other = entry("calibration", 1, (1.0, 1.0, 5))
    assert diagrams([*OTHERS, SURE, SCALED, other]) == [
        Diagram(
            "recipe-0", {"as it is": [(0.5, 0.1, 10), (0.9, 0.4, 30)], "scaled": [(0.2, 0.6, 10), (0.4, 0.95, 30)]}
        ),
        Diagram("recipe-1", {"as it is": [(1.0, 1.0, 5)]}),
    ]
    two = reliability_picture([SURE, other])
    assert two is not None and two.size == (700, 340)


def test_nothing_is_drawn_of_other_scores() -> None:
    assert reliability_picture(OTHERS) is None and reliability_picture([]) is None


def middles(picture: Image.Image, colour: tuple[int, int, int]) -> list[tuple[float, float]]:
    """Where a line starts and where it ends, in pixels from the left and from the bottom; the legend left out."""
    pixels = (np.asarray(picture) == colour).all(2)[90:]
    columns = np.flatnonzero(pixels.any(0))
    ends = [(columns[0], columns[0] + 3), (columns[-1] - 3, columns[-1])]
    return [(start, len(pixels) - np.flatnonzero(pixels[:, start : stop + 1].any(1)).mean()) for start, stop in ends]


def test_a_model_that_is_too_sure_lies_below_the_diagonal() -> None:
    picture = reliability_picture([SURE, entry("calibration-scaled", 0, (0.5, 0.5, 10), (0.6, 0.6, 30))])
    assert picture is not None
    (left, low), (right, high) = middles(picture, RED)
    (first, bottom), (last, top) = middles(picture, GREEN)
    assert high > low + 50 and top > bottom + 10
    assert abs((last - first) - (top - bottom)) < 12  # along the diagonal, whose sides are equally long
    assert (right - left) - (high - low) > 10 and bottom > low + 80 and abs(first - left) < 8
