"""`shapes`: pictures of ten drawn objects with exact masks, made on the fly at any size.

Each shows one object of ten classes on a textured background, and beside it a small distractor of no class. Places,
sizes, turns, colours, textures and noise vary and tell nothing of the class. A picture is a pure function of (generator
version, split, row, size, channels): the same bytes on every machine, in any company, in any order.

Measured on one core of an AMD EPYC: 5,000 pictures of 3x32x32 a second. After ten epochs on the 10,000, `cnn` reaches
95 % of the test pictures and four convolutions of 32, 64, 128 and 128 channels 98 %, these after three on 4,000 72 %.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Dataset, Images, Pixels, Positions, Rows
from xaicli.data.outlines import OUTLINES
from xaicli.data.render import Canvas, grainy
from xaicli.data.scene import GENERATOR, Scenes, class_numbers, compose
from xaicli.data.splits import FullSplit, Split, full_split, rows_of
from xaicli.errors import InputError
from xaicli.files.canonical import canonical_json

ROWS = {"train": 10_000, "test": 2_000}
SHAPE = (3, 32, 32)
SMALLEST = 16
"""Pixels per side below which the objects could no longer be told apart."""

PIXELS_AT_ONCE = 2**16
"""So many per step keep the intermediate fields in the processor's cache."""


@dataclass(frozen=True)
class Pencil:
    """Draws any rows of a full split at one size."""

    split: FullSplit
    channels: int
    height: int
    width: int

    def draw(self, rows: Rows, labels: Rows, *, with_object: bool = True) -> NDArray[np.uint8]:
        """The pictures of these rows, [n, C, H, W]; without their object they show all that cannot tell the class."""
        pixels = np.empty((len(rows), self.channels, self.height, self.width), dtype=np.uint8)
        for part, canvas, scenes in self._parts(rows, labels):
            things = (scenes.distractor, scenes.object) if with_object else (scenes.distractor,)
            pixels[part] = grainy(canvas.paint(scenes, self.channels, things), scenes, self.split, rows[part])
        return pixels

    def masks(self, rows: Rows, labels: Rows) -> NDArray[np.bool_]:
        """The pixels that the object covers by more than half, [n, H, W]."""
        masks = np.empty((len(rows), self.height, self.width), dtype=bool)
        for part, canvas, scenes in self._parts(rows, labels):
            masks[part] = canvas.mask(scenes.object)
        return masks

    def _parts(self, rows: Rows, labels: Rows) -> Iterator[tuple[slice, Canvas, Scenes]]:
        canvas = Canvas(self.height, self.width)
        step = max(1, PIXELS_AT_ONCE // (self.height * self.width))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            yield part, canvas, compose(self.split, rows[part], labels[part], reach=canvas.reach)


@dataclass(frozen=True, eq=False, kw_only=True)
class Shapes(Dataset):
    """The pictures of one split; none is kept, each reading draws them again."""

    pencil: Pencil

    def read(self, positions: Positions) -> Images:
        """Draw these rows; all are readable."""
        pixels = self.pencil.draw(*self._rows(positions))
        return Images(pixels, np.ones(len(pixels), dtype=bool))

    def masks(self, positions: Positions) -> NDArray[np.bool_]:
        """The pixels of the object, [n, H, W]."""
        return self.pencil.masks(*self._rows(positions))

    def without_object(self, positions: Positions) -> Pixels:
        """The same pictures with background and distractor only."""
        return self.pencil.draw(*self._rows(positions), with_object=False)

    def _rows(self, positions: Positions) -> tuple[Rows, Rows]:
        chosen = np.asarray(positions, dtype=np.int64)
        return self.index[chosen], self.labels[chosen]


def open_shapes(split: Split, shape: tuple[int, int, int] | None = None) -> Shapes:
    """10,000 training or 2,000 test pictures (or the fit and val parts of the former), 3x32x32 or as asked for."""
    channels, height, width = shape or SHAPE
    if channels < 1 or min(height, width) < SMALLEST:
        raise InputError(
            f"the pictures of shapes cannot be {channels}x{height}x{width}; "
            f"ask for at least 1 channel and {SMALLEST} pixels a side."
        )
    full = full_split(split)
    labels = class_numbers(full, ROWS[full])
    index = rows_of(split, labels)
    pencil = Pencil(full, channels, height, width)
    return Shapes(
        name="shapes",
        split=split,
        classes=tuple(OUTLINES),
        channels=channels,
        height=height,
        width=width,
        labels=labels[index],
        index=index,
        digest=_digest(pencil, labels),
        pencil=pencil,
    )


def _digest(pencil: Pencil, labels: Rows) -> str:
    """Of all that decides the pictures, and of the first 16: a witness that they are drawn the same here."""
    what = {
        "generator": GENERATOR,
        "split": pencil.split,
        "rows": len(labels),
        "shape": [pencil.channels, pencil.height, pencil.width],
    }
    first = pencil.draw(np.arange(16), labels[:16])
    return hashlib.sha256(canonical_json(what).encode() + labels.astype("<i8").tobytes() + first.tobytes()).hexdigest()
