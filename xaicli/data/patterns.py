"""Textures of `shapes`: smooth fields in [0, 1] that blend two colours.

A pattern is a function (x, y, frequency, phase, pixels) -> blend: x and y [n, H, W], the others [n, 1, 1]; `pixels`
make one unit of x and y, for edges that are one pixel soft. Like the outlines, patterns round exactly on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xaicli.data.outlines import Field, length

Pattern = Callable[[Field, Field, Field, Field, Field], Field]


def plain(x: Field, y: Field, frequency: Field, phase: Field, pixels: Field) -> Field:
    """The first colour alone."""
    return np.zeros_like(x)


def ramp(x: Field, y: Field, frequency: Field, phase: Field, pixels: Field) -> Field:
    """From the first colour to the second, once from left to right."""
    return np.clip((x + 1) / 2, 0, 1)


def stripes(x: Field, y: Field, frequency: Field, phase: Field, pixels: Field) -> Field:
    """Upright stripes."""
    return _soft(_zigzag(x * frequency + phase), pixels / frequency)


def checks(x: Field, y: Field, frequency: Field, phase: Field, pixels: Field) -> Field:
    """A chequerboard."""
    across, down = (2 * stripes(place, y, frequency, phase, pixels) - 1 for place in (x, y))
    return (across * down + 1) / 2


def polka(x: Field, y: Field, frequency: Field, phase: Field, pixels: Field) -> Field:
    """Round dots on a square lattice."""
    u, v = x * frequency + phase, y * frequency + phase
    return _soft(0.35 - length(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5), pixels / frequency)


PATTERNS: tuple[Pattern, ...] = (plain, ramp, stripes, checks, polka)


def clouds(knots: Field, height: int, width: int) -> Field:
    """Blotches: lattices of numbers [n, g, g] spread smoothly over [n, height, width]."""
    return _spread(_spread(knots, height, axis=1), width, axis=2)


def _zigzag(x: Field) -> Field:
    """A triangle wave of period 1 and slope 1 or -1, between -1/4 and 1/4."""
    wave: Field = np.abs(x - np.floor(x) - 0.5) - 0.25
    return wave


def _soft(distance: Field, pixels: Field) -> Field:
    """From 0 to 1 within one pixel around distance 0."""
    return np.clip(0.5 + distance * pixels, 0, 1)


def _spread(knots: Field, size: int, *, axis: int) -> Field:
    cells = knots.shape[axis] - 1
    place = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(cells / size)
    # The last centre may round up to the last knot, which has none after it.
    first = np.minimum(np.floor(place), cells - 1)
    part = place - first
    weight = part * part * (3 - 2 * part)
    number = first.astype(np.int64)
    start, end = knots.take(number, axis=axis), knots.take(number + 1, axis=axis)
    mixed: Field = start + (end - start) * weight.reshape([size if a == axis else 1 for a in range(knots.ndim)])
    return mixed
