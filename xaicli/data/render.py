"""From the scenes of `shapes` to pixels and masks, at any size and number of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Rows
from xaicli.data.outlines import Field
from xaicli.data.patterns import PATTERNS, clouds
from xaicli.data.scene import NUMBERS, Fill, Scenes, Thing, colours, stream

Stack = NDArray[np.floating[Any]]

RIM, SHADOW = 0.25, 0.35
"""Things darken by SHADOW towards their edge, over RIM of their radius, so that they look like solid bodies."""

WEAVE = 0.3
"""The share of its pattern, beside the blotches, in the background's texture."""


class Canvas:
    """A grid of pixel centres; the shorter side of the picture runs from -1 to 1."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        short = min(height, width)
        self.reach = (width / short, height / short)
        """Half width and half height of the picture."""
        self.unit = np.float32(short / 2)
        """Pixels in a half side."""
        self.x = ((np.arange(width, dtype=np.float32) + np.float32(0.5)) / self.unit - self.reach[0])[None, None, :]
        self.y = ((np.arange(height, dtype=np.float32) + np.float32(0.5)) / self.unit - self.reach[1])[None, :, None]

    def paint(self, scenes: Scenes, channels: int, things: tuple[Thing, ...]) -> Stack:
        """The background and on it these things, [n, C, H, W] in [0, 1], without grain."""
        image = self._ground(scenes, channels)
        for thing in things:
            x, y = self._local(thing)
            edge = _distance(thing, x, y)
            pixels = thing.radius * self.unit
            cover = np.clip(0.5 - edge * pixels, 0, 1)
            shade = 1 - SHADOW * np.clip(1 + edge / RIM, 0, 1)
            first, second = colours(thing.fill, channels)
            body = (first + (second - first) * _texture(thing.fill, x, y, pixels)[:, None]) * shade[:, None]
            image += cover[:, None] * (body - image)
        return image

    def mask(self, thing: Thing) -> NDArray[np.bool_]:
        """The pixels that the thing covers by more than half, [n, H, W]."""
        inside: NDArray[np.bool_] = _distance(thing, *self._local(thing)) < 0
        return inside

    def _local(self, thing: Thing) -> tuple[Field, Field]:
        """Coordinates in which the thing stands upright and its circle is the unit circle."""
        x, y = (self.x - thing.x) / thing.radius, (self.y - thing.y) / thing.radius
        return x * thing.cosine + y * thing.sine, y * thing.cosine - x * thing.sine

    def _ground(self, scenes: Scenes, channels: int) -> Stack:
        blotches = clouds(scenes.coarse, self.height, self.width)
        blotches = blotches + scenes.roughness * (clouds(scenes.fine, self.height, self.width) - blotches)
        x, y = (np.broadcast_to(place, blotches.shape) for place in (self.x, self.y))
        texture = _texture(scenes.background, x, y, np.broadcast_to(self.unit, scenes.roughness.shape))
        first, second = colours(scenes.background, channels)
        return first + (second - first) * (blotches + WEAVE * (texture - blotches))[:, None]


def _distance(thing: Thing, x: Field, y: Field) -> Field:
    """Signed distance of every pixel centre to the thing's edge, in radii of its circle."""
    result = np.empty_like(x)
    for number in np.unique(thing.number):
        rows = np.flatnonzero(thing.number == number)
        result[rows] = thing.outlines[number](x[rows], y[rows], thing.vary[rows])
    return result


def _texture(fill: Fill, x: Field, y: Field, pixels: Field) -> Field:
    """The pattern of every row, [n, H, W]; `pixels` is how many of them make a unit of x and y."""
    result = np.empty(x.shape, dtype=np.float32)
    for number in np.unique(fill.pattern):
        rows = np.flatnonzero(fill.pattern == number)
        pattern = PATTERNS[number]
        result[rows] = pattern(x[rows], y[rows], fill.frequency[rows], fill.phase[rows], pixels[rows])
    return result


def grainy(image: Stack, scenes: Scenes, split: str, rows: Rows) -> NDArray[np.uint8]:
    """The image with its grain (one uniform byte per number), rounded to bytes."""
    size = image[0].size
    grain = np.empty(image.shape, dtype=np.uint8)
    for row, target in zip(rows, grain, strict=True):
        raw = stream(split, 0, int(row)).random_raw(NUMBERS + -(-size // 8))[NUMBERS:]
        target[:] = raw.astype("<u8").view(np.uint8)[:size].reshape(target.shape)
    noisy = image + scenes.grain[:, None] * (grain.astype(np.float32) / np.float32(127.5) - 1)
    pixels: NDArray[np.uint8] = np.floor(np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels
