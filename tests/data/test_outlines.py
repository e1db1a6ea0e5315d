"""The outlines of `shapes` against closed forms."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest

from xaicli.data.outlines import DISTRACTORS, OUTLINES, polygon

SIDE = 801
LINE = np.linspace(-1.2, 1.2, SIDE, dtype=np.float32)
X, Y = (grid[None] for grid in np.meshgrid(LINE, LINE))
HALF = np.full((1, 1, 1), 0.5, dtype=np.float32)
ALL = {**OUTLINES, **{outline.__name__: outline for outline in DISTRACTORS}}


def area(name: str, vary: float = 0.5) -> float:
    """By counting grid points."""
    inside = ALL[name](X, Y, np.full((1, 1, 1), vary, dtype=np.float32)) < 0
    return float(inside.sum()) * (2.4 / (SIDE - 1)) ** 2


AREAS = {
    "circle": pi * 0.9**2,
    "ring": pi * (1 - (1 - 0.39) ** 2),
    "square": 2.0,
    "diamond": 2 * 0.48,
    "triangle": 3 * sqrt(3) / 4,
    "star": 5 * 0.43 * sqrt(10 - 2 * sqrt(5)) / 4,  # ten triangles of sides 1 and 0.43 with 36 degrees between
    "cross": 8 * 0.28 * sqrt(1 - 0.28**2) - 4 * 0.28**2,
    "arrow": 0.8 * 0.88 + 2 * 0.25 * 1.05,
    "heart": (1 / 2 + pi / 8) / 0.6309**2,  # half of the unit square below the lobes, which make a circle of 1/8
    "bar": pi * 0.275**2 + 4 * 0.275 * (1 - 0.275),
    "rails": 2 * (pi * 0.25**2 + 0.5),
    "dots": 3 * pi * 0.33**2,
}


@pytest.mark.parametrize("name", sorted(AREAS))
def test_areas_are_those_of_geometry(name: str) -> None:
    assert area(name) == pytest.approx(AREAS[name], rel=0.01)


def test_area_of_the_crescent_is_a_disc_less_the_lens_of_two() -> None:
    r, d = 0.8, 0.49
    first = np.arccos((d * d + 1 - r * r) / (2 * d))
    second = np.arccos((d * d + r * r - 1) / (2 * d * r))
    kite = 0.5 * sqrt((-d + 1 + r) * (d + 1 - r) * (d - 1 + r) * (d + 1 + r))
    lens = first + r * r * second - kite
    assert area("crescent") == pytest.approx(pi - lens, rel=0.01)


@pytest.mark.parametrize("name", sorted(ALL))
def test_outlines_fill_the_unit_circle_and_no_more(name: str) -> None:
    radius = np.sqrt(X * X + Y * Y)
    for vary in (0.0, 1.0):
        inside = ALL[name](X, Y, np.full((1, 1, 1), vary, dtype=np.float32)) < 0
        assert 0.88 < radius[inside].max() <= 1.001, vary


@pytest.mark.parametrize("name", sorted(ALL))
def test_distances_are_in_float32_and_have_slope_one(name: str) -> None:
    distance = ALL[name](X, Y, HALF)
    assert distance.dtype == np.float32
    step = 2.4 / (SIDE - 1)
    slopes = np.sqrt(np.diff(distance[0], axis=0)[:, :-1] ** 2 + np.diff(distance[0], axis=1)[:-1] ** 2) / step
    edge = np.abs(distance[0, :-1, :-1]) < 0.05
    assert np.median(slopes[edge]) == pytest.approx(1, abs=0.02)
    assert slopes.max() < 1.42  # at a ridge the two differences may see two sides: sqrt(2)


def test_a_polygon_distance_is_exact_inside_and_outside() -> None:
    def box(x: float, y: float) -> float:
        corners = [(-0.5, -0.25), (0.5, -0.25), (0.5, 0.25), (-0.5, 0.25)]
        return float(polygon(np.full((1, 1, 1), x, np.float32), np.full((1, 1, 1), y, np.float32), corners)[0, 0, 0])

    assert [box(0, 0), box(0.4, 0), box(0.8, 0), box(0, -1)] == pytest.approx([-0.25, -0.1, 0.3, 0.75])
    assert box(0.8, 0.65) == pytest.approx(0.5)  # 3-4-5 from the corner


def test_heart_and_arrow_stand_upright() -> None:
    def inside(name: str, x: float, y: float) -> bool:
        at = (np.full((1, 1, 1), place, np.float32) for place in (x, y))
        return bool(ALL[name](*at, HALF)[0, 0, 0] < 0)

    assert inside("heart", 0, 0.9) and not inside("heart", 0, -0.9)
    assert inside("arrow", 0, -0.9) and inside("arrow", 0, 0.9)
    assert inside("arrow", 0.6, -0.2) and not inside("arrow", 0.6, 0.2)
