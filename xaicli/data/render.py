"""From the scenes of `shapes` to pixels and masks, at any size and number of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Rows
from xaicli.data.outlines import DISTRACTORS, OUTLINES, Field
from xaicli.data.patterns import PATTERNS, clouds
from xaicli.data.scene import NUMBERS, Fill, Scenes, Thing, colours, stream

Stack = NDArray[np.floating[Any]]

OBJECTS = tuple(OUTLINES.values())
RIM, SHADOW = 0.25, 0.35
"""Things darken by SHADOW towards their edge, over RIM of their radius: they look like solid bodies."""


class Canvas:
    """A grid of pixel centres; the shorter side runs from -1 to 1."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.unit = np.float32(min(height, width) / 2)
        """Pixels in a half side."""
        self.x = ((np.arange(width, dtype=np.float32) + np.float32(0.5)) / self.unit - self.reach[0])[None, None, :]
        self.y = ((np.arange(height, dtype=np.float32) + np.float32(0.5)) / self.unit - self.reach[1])[None, :, None]

    @property
    def reach(self) -> tuple[float, float]:
        """Half width and half height of the picture."""
        short = min(self.height, self.width)
        return self.width / short, self.height / short

    def paint(self, scenes: Scenes, channels: int, *, things: tuple[Thing, ...]) -> Stack:
        """The background and these things on it, without grain, [n, C, H, W]."""
        image = self._ground(scenes, channels)
        for thing in things:
            x, y = self._local(thing)
            edge = distances(thing, x, y, OBJECTS if thing is scenes.object else DISTRACTORS)
            cover = np.clip(0.5 - edge * (thing.radius * self.unit), 0, 1)
            shade = 1 - SHADOW * np.clip(1 + edge / RIM, 0, 1)
            texture = _texture(thing.fill, x, y, thing.radius * self.unit)
            first, second = colours(thing.fill, channels)
            body = (first + (second - first) * texture[:, None]) * shade[:, None]
            image += cover[:, None] * (body - image)
        return image

    def mask(self, thing: Thing) -> NDArray[np.bool_]:
        """Pixels of which more than half is the object's, [n, H, W]."""
        inside: NDArray[np.bool_] = distances(thing, *self._local(thing), OBJECTS) < 0
        return inside

    def _local(self, thing: Thing) -> tuple[Field, Field]:
        """Coordinates in which the thing is upright and its circle is the unit circle."""
        x, y = (self.x - thing.x) / thing.radius, (self.y - thing.y) / thing.radius
        return x * thing.cosine + y * thing.sine, y * thing.cosine - x * thing.sine

    def _ground(self, scenes: Scenes, channels: int) -> Stack:
        fill = scenes.background
        blotches = clouds(scenes.coarse, self.height, self.width)
        blotches = blotches + scenes.roughness * (clouds(scenes.fine, self.height, self.width) - blotches)
        x, y = np.broadcast_arrays(self.x, self.y)
        n = len(fill.pattern)
        shape = (n, self.height, self.width)
        texture = _texture(fill, np.broadcast_to(x, shape), np.broadcast_to(y, shape), np.broadcast_to(self.unit, (n, 1, 1)))
        texture = blotches + (texture - blotches) * np.float32(0.3)
        first, second = colours(fill, channels)
        return first + (second - first) * texture[:, None]


def distances(thing: Thing, x: Field, y: Field, outlines: tuple[Any, ...]) -> Field:
    """Signed distance of every pixel to the thing's edge, in its radii."""
    result = np.empty_like(x)
    for number in np.unique(thing.outline):
        rows = np.flatnonzero(thing.outline == number)
        result[rows] = outlines[number](x[rows], y[rows], thing.vary[rows])
    return result


def _texture(fill: Fill, x: Field, y: Field, unit: Field) -> Field:
    result = np.empty(x.shape, dtype=np.float32)
    for number in np.unique(fill.pattern):
        rows = np.flatnonzero(fill.pattern == number)
        pattern, frequency = PATTERNS[number], fill.frequency[rows]
        if pattern.__name__ in ("plain", "ramp"):
            result[rows] = pattern(x[rows], y[rows], frequency)
            continue
        u, v = (place[rows] * frequency + phase[rows] for place, phase in zip((x, y), fill.phase, strict=True))
        result[rows] = pattern(u, v, unit[rows] / frequency)
    return result


def sprinkle(image: Stack, scenes: Scenes, split: str, rows: Rows) -> NDArray[np.uint8]:
    """Add the grain (uniform noise, one byte a number) and round to bytes."""
    per_row = image[0].size
    words = -(-per_row // 8)
    grain = np.empty(image.shape, dtype=np.uint8)
    for row, target in zip(rows, grain, strict=True):
        raw = stream(split, 0, int(row)).random_raw(NUMBERS + words)[NUMBERS:]
        target[:] = raw.astype("<u8").view(np.uint8)[:per_row].reshape(target.shape)
    image = image + scenes.grain[:, None] * (grain.astype(np.float32) / np.float32(127.5) - 1)
    return np.floor(np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
