"""The ten objects of `shapes` as signed distance fields (after I. Quilez, "2D distance functions").

An outline is a function (x, y, vary) -> distance: negative inside, positive outside, zero on the edge, in units of the
circle around the origin that just holds the object. x points right and y down; `vary` in [0, 1] is the one free
proportion of each object. All arrays are float32 and broadcast as [n, H, W] with `vary` [n, 1, 1]. Only operations that
IEEE 754 rounds exactly are used (no sine, no power), so that the same pixels come out on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]
Outline = Callable[[Field, Field, Field], Field]
Corner = tuple[Field | float, Field | float]

# Of the regular pentagon: cosine and sine of 36 and 72 degrees.
COS36, SIN36 = (sqrt(5) + 1) / 4, sqrt(10 - 2 * sqrt(5)) / 4
COS72, SIN72 = (sqrt(5) - 1) / 4, sqrt(10 + 2 * sqrt(5)) / 4


def length(x: Field, y: Field) -> Field:
    """Euclidean length."""
    euclidean: Field = np.sqrt(x * x + y * y)
    return euclidean


def polygon(x: Field, y: Field, corners: list[Corner]) -> Field:
    """Exact signed distance to a simple polygon: the nearest edge, and inside by counting the edges crossed."""
    nearest = np.full_like(x, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = bx - ax, by - ay
        wx, wy = x - ax, y - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, length(wx - ex * along, wy - ey * along))
        crossed = ((wy >= 0) != (y - by >= 0)) & ((ex * wy - ey * wx > 0) == (ey > 0))
        inside ^= crossed
    return np.where(inside, -nearest, nearest)


def circle(x: Field, y: Field, vary: Field) -> Field:
    """A disc."""
    return length(x, y) - 0.9


def ring(x: Field, y: Field, vary: Field) -> Field:
    """A disc with a round hole."""
    thickness = 0.32 + 0.14 * vary
    off_centre: Field = np.abs(length(x, y) - (1 - thickness / 2))
    return off_centre - thickness / 2


def crescent(x: Field, y: Field, vary: Field) -> Field:
    """A disc less a smaller disc that is shifted to the right."""
    bitten: Field = np.maximum(length(x, y) - 1, 0.8 - length(x - (0.42 + 0.14 * vary), y))
    return bitten


def square(x: Field, y: Field, vary: Field) -> Field:
    """A square."""
    side = sqrt(0.5)
    return polygon(x, y, [(-side, -side), (side, -side), (side, side), (-side, side)])


def diamond(x: Field, y: Field, vary: Field) -> Field:
    """A rhombus, half as wide as it is high."""
    half = 0.42 + 0.12 * vary
    return polygon(x, y, [(0, -1), (half, 0), (0, 1), (-half, 0)])


def triangle(x: Field, y: Field, vary: Field) -> Field:
    """An equilateral triangle."""
    side = sqrt(0.75)
    return polygon(x, y, [(0, -1), (side, 0.5), (-side, 0.5)])


def star(x: Field, y: Field, vary: Field) -> Field:
    """A star of five points."""
    inner = 0.38 + 0.1 * vary
    right: list[Corner] = [
        (0, -1),
        (inner * SIN36, inner * -COS36),
        (SIN72, -COS72),
        (inner * SIN72, inner * COS72),
        (SIN36, COS36),
    ]
    left: list[Corner] = [(-px, py) for px, py in reversed(right[1:])]
    return polygon(x, y, [*right, (0, inner), *left])


def cross(x: Field, y: Field, vary: Field) -> Field:
    """Two bars of equal length across each other."""
    arm = 0.22 + 0.12 * vary
    # Folded by its symmetries, the cross is one arm: a box of the half sides (reach, arm) with a notch at (arm, arm).
    far, near = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    reach = np.sqrt(1 - arm * arm)
    beyond, beside = far - reach, near - arm
    outside = length(np.maximum(beyond, 0), np.maximum(beside, 0))
    depth = np.maximum(beyond, beside)
    inside = length(np.maximum(arm - far, 0), np.maximum(-depth, 0))
    return np.where(depth > 0, outside, -inside)


def heart(x: Field, y: Field, vary: Field) -> Field:
    """A heart, its tip down."""
    radius = 0.6309
    px, py = np.abs(x) * radius, radius - y * radius
    lobe = length(px - 0.25, py - 0.75) - sqrt(2) / 4
    middle = np.maximum(px + py, 0) / 2
    below = np.minimum(length(px, py - 1), length(px - middle, py - middle))
    return np.where(px + py > 1, lobe, np.where(px < py, -below, below)) / radius


def arrow(x: Field, y: Field, vary: Field) -> Field:
    """An arrow that points up."""
    shaft = 0.2 + 0.1 * vary
    neck = -0.12
    right: list[Corner] = [(0, -1), (0.8, neck), (shaft, neck), (shaft, 0.93)]
    left: list[Corner] = [(-px, py) for px, py in reversed(right[1:])]
    return polygon(x, y, right + left)


OUTLINES: dict[str, Outline] = {
    outline.__name__: outline
    for outline in (circle, ring, crescent, square, diamond, triangle, star, cross, heart, arrow)
}
"""The classes of `shapes`, in the order of their numbers."""


def bar(x: Field, y: Field, vary: Field) -> Field:
    """A rod with round ends; no class."""
    width = 0.2 + 0.15 * vary
    return length(np.maximum(np.abs(x) - (1 - width), 0), y) - width


def rails(x: Field, y: Field, vary: Field) -> Field:
    """Two parallel rods; no class."""
    return length(np.maximum(np.abs(x) - 0.5, 0), np.abs(y) - (0.45 + 0.1 * vary)) - 0.25


def dots(x: Field, y: Field, vary: Field) -> Field:
    """Three small discs in a triangle; no class."""
    size = 0.28 + 0.1 * vary
    out = 1 - size
    side = out * sqrt(0.75)
    nearest: Field = np.minimum(length(np.abs(x) - side, y - out / 2), length(x, y + out))
    return nearest - size


DISTRACTORS: tuple[Outline, ...] = (bar, rails, dots)
