"""Areas of detectors: what is taken from a store, and that better ones stand further right."""

from __future__ import annotations

from typing import Any

import numpy as np

from xaicli.report.detectors import areas, detectors_picture

GREEN, ORANGE = (0x2A, 0x9D, 0x8F), (0xE7, 0x6F, 0x51)


def entry(metric: str, detector: str | None, value: float | None, source: int = 0) -> dict[str, Any]:
    bounds = {"low": None, "high": None} if value is None else {"low": value - 0.01, "high": value + 0.01}
    about = {"metric": metric, "source": source, "method": "standard", "value": value, **bounds}
    return {**about, **({"detector": detector} if detector else {})}


SCORES = [
    entry("open-set@left-out", None, 0.7),
    entry("open-set-auroc@left-out", "msp", 0.6),
    entry("open-set-auroc@noise", "msp", 0.95),
    entry("open-set-auroc@left-out", "knn", 0.7),
    entry("open-set-oscr@left-out", "knn", 0.65),
    entry("open-set-auroc@noise", "knn", None),
]


def test_areas_by_unknown_data_and_detector() -> None:
    ((title, found),) = areas(SCORES)
    assert title == "standard"
    assert found == {
        "left-out": {"msp": (0.6, 0.59, 0.61), "knn": (0.7, 0.69, 0.71)},
        "noise": {"msp": (0.95, 0.94, 0.96)},
    }
    assert len(areas([*SCORES, entry("open-set-auroc@noise", "msp", 0.5, source=1)])) == 2


def test_a_larger_area_stands_further_right() -> None:
    picture = detectors_picture(SCORES)
    assert picture is not None
    pixels = np.asarray(picture)

    def mean_column(colour: tuple[int, int, int]) -> float:
        found = (pixels == colour).all(2)
        lines = found.sum(1) > 12  # the intervals, and no dot of the legend
        return float(np.flatnonzero(found[lines].any(0)).mean())

    assert mean_column(ORANGE) > mean_column(GREEN) + 60


def test_few_rows_have_no_interval_and_others_no_picture() -> None:
    bare = {**entry("open-set-auroc@noise", "msp", 0.9), "low": None, "high": None}
    assert detectors_picture([bare]) is not None
    assert detectors_picture([SCORES[0]]) is None
