"""`noise`: images of nothing at all, every byte of them drawn evenly from 0 to 255."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import UNKNOWN, Dataset, Images, Positions
from xaicli.data.scene import SPLIT_NUMBERS
from xaicli.data.splits import Split, full_split, rows_of
from xaicli.errors import InputError
from xaicli.files.canonical import canonical_json

ROWS = 1000
SHAPE = (3, 32, 32)
GENERATOR = 1
"""The version of the drawing, to be raised whenever a pixel changes: it is a part of the key of all random numbers."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Noise(Dataset):
    """The images of one split; none is kept, each reading draws them again, and no row looks at another."""

    def read(self, positions: Positions) -> Images:
        """Draw these rows; all are readable."""
        pixels = np.empty((len(positions), *self.shape), dtype=np.uint8)
        number = SPLIT_NUMBERS[full_split(self.split)]  # type: ignore[arg-type]
        for place, row in enumerate(self.index[np.asarray(positions, dtype=np.int64)]):
            pixels[place] = _drawn(number, int(row), self.shape)
        return Images(pixels, np.ones(len(pixels), dtype=bool))


def open_noise(split: Split, shape: tuple[int, int, int] | None = None) -> Noise:
    """1,000 training and 1,000 test images without classes, 3x32x32 or as asked for."""
    channels, height, width = shape or SHAPE
    if min(channels, height, width) < 1:
        raise InputError(f"there is no noise of {channels}x{height}x{width} pixels; ask for at least one a side.")
    labels = np.full(ROWS, UNKNOWN, dtype=np.int64)
    index = rows_of(split, labels)
    return Noise(
        name="noise",
        split=split,
        classes=(),
        channels=channels,
        height=height,
        width=width,
        labels=labels[index],
        index=index,
        digest=_digest(split, (channels, height, width)),
    )


def _drawn(split: int, row: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The raw output of Philox, which numpy keeps stable, byte for byte."""
    count = int(np.prod(shape))
    words = np.random.Philox(key=[GENERATOR * len(SPLIT_NUMBERS) + split, row]).random_raw(-(-count // 8))
    return words.astype("<u8").view(np.uint8)[:count].reshape(shape)


def _digest(split: Split, shape: tuple[int, int, int]) -> str:
    what = {"noise": GENERATOR, "split": full_split(split), "rows": ROWS, "shape": list(shape)}
    return hashlib.sha256(canonical_json(what).encode()).hexdigest()
