"""Risk-coverage curves: which lines there are, and where they and the thresholds stand."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from xaicli.report.risk import Curve, risk_curves, risk_picture

GREEN = (0x2A, 0x9D, 0x8F)
CURVE = [[0.25, 0.0], [0.5, 0.1], [1.0, 0.2]]


def entry(metric: str, source: int, value: float | None = 0.1, **details: Any) -> dict[str, Any]:
    about = {"metric": metric, "source": source, "method": f"recipe-{source}", "value": value}
    return {**about, **({"details": details} if details else {})}


SCORES = [
    entry("accuracy", 0),
    entry("selective", 0, curve=CURVE),
    entry("selective-coverage", 0, 0.5),
    entry("selective-accuracy", 0, 0.9),
    entry("selective-coverage", 1, 0.7),
    entry("selective", 1, curve=CURVE[:2]),
    entry("selective-accuracy", 1, None),
]


def test_every_source_has_a_curve_and_a_dot_where_it_answers() -> None:
    assert risk_curves(SCORES) == [
        Curve("recipe-0", [(0.25, 0.0), (0.5, 0.1), (1.0, 0.2)], (0.5, 1 - 0.9)),
        Curve("recipe-1", [(0.25, 0.0), (0.5, 0.1)], None),
    ]


def test_nothing_is_drawn_of_other_scores() -> None:
    bins = entry("calibration", 0, bins=[{"confidence": 1}])
    assert risk_picture([SCORES[0], bins]) is None and risk_picture([]) is None


def right_end(picture: Image.Image | None) -> float:
    """How high the line stands on the right, in pixels from the top; the legend left out."""
    assert picture is not None
    pixels = (np.asarray(picture) == GREEN).all(2)
    last = np.flatnonzero(pixels.any(0))[-1]
    return float(np.flatnonzero(pixels[:, last - 2 : last + 1].any(1)).min())


def test_a_model_that_errs_more_ends_higher() -> None:
    better = risk_picture([entry("selective", 0, curve=[[0.5, 0.3], [1.0, 0.1]])])
    worse = risk_picture([entry("selective", 0, curve=[[0.5, 0.1], [1.0, 0.3]])])
    assert right_end(worse) < right_end(better) - 50
