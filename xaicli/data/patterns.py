"""Textures of `shapes`: smooth fields in [0, 1] that blend two colours.

Like the outlines they use exactly rounded operations only, so no sine and no library noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.outlines import Field, length

Pattern = Callable[[Field, Field, Field], Field]


def plain(x: Field, y: Field, sharp: Field) -> Field:
    """No texture."""
    return np.zeros_like(x)


def ramp(x: Field, y: Field, sharp: Field) -> Field:
    """From the first colour to the second, once."""
    return np.clip((x + 1) / 2, 0, 1)


def stripes(x: Field, y: Field, sharp: Field) -> Field:
    """Stripes across x, period 1."""
    return _edge(_zigzag(x), sharp)


def checks(x: Field, y: Field, sharp: Field) -> Field:
    """A chequerboard, period 1."""
    across, down = 2 * _edge(_zigzag(x), sharp) - 1, 2 * _edge(_zigzag(y), sharp) - 1
    return (across * down + 1) / 2


def polka(x: Field, y: Field, sharp: Field) -> Field:
    """Round dots on a square lattice, period 1."""
    # Dots fill a good third of the plane, so that they differ from their ground in the mean as well.
    return _edge(0.35 - length(x - np.floor(x) - 0.5, y - np.floor(y) - 0.5), sharp)


PATTERNS: tuple[Pattern, ...] = (plain, ramp, stripes, checks, polka)


def clouds(knots: NDArray[np.floating[Any]], height: int, width: int) -> Field:
    """Soft blotches: a lattice of numbers [n, g, g] spread over the image with smooth interpolation, [n, height, width]."""
    return _spread(_spread(knots, height, axis=1), width, axis=2)


def _zigzag(x: Field) -> Field:
    """A triangle wave of period 1 in [-1/4, 1/4], slope 1 or -1."""
    zigzag: Field = np.abs(x - np.floor(x) - 0.5) - 0.25
    return zigzag


def _edge(distance: Field, sharp: Field) -> Field:
    """Antialiased sign: from 0 to 1 within one pixel; `sharp` is pixels per period."""
    return np.clip(0.5 + distance * sharp, 0, 1)


def _spread(knots: Field, size: int, *, axis: int) -> Field:
    cells = knots.shape[axis] - 1
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(cells) / np.float32(size)
    low = np.floor(place)
    part = place - low
    shape = [1, 1, 1]
    shape[axis] = size
    weight = (part * part * (3 - 2 * part)).reshape(shape)
    first = low.astype(np.int64)
    start, end = knots.take(first, axis=axis), knots.take(first + 1, axis=axis)
    mixed: Field = start + (end - start) * weight
    return mixed
