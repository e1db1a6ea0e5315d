"""What every source of labelled images looks like to the rest of the house."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 65535
"""The label of a row whose true class is not known (the largest value of the stores' u2 column)."""

Pixels = NDArray[np.uint8] | NDArray[np.float32]
Rows = NDArray[np.int64]
Positions = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Images:
    """Some rows of a data set; a row that could not be decoded is zero and marked."""

    pixels: Pixels
    """uint8 (0..255) or float32 (0..1), [n, C, H, W]."""
    readable: NDArray[np.bool_]
    """[n], False where the file was damaged, refused or gone."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset(ABC):
    """One split of one source, at one image size; reading is lazy and depends on nothing but the rows asked for."""

    name: str
    """`digits`, `shapes` or `folder:flowers`: what the user typed, less any path."""
    split: str
    """`train`, `fit` (train less val), `val` or `test`."""
    classes: tuple[str, ...]
    channels: int
    height: int
    width: int
    labels: Rows
    """[N], class numbers, `UNKNOWN` where there is none."""
    index: Rows
    """[N], ascending row numbers in the full `train` or `test` split: `val` and `fit` keep those of `train`."""
    digest: str
    """sha256 of the full split that this one is cut from."""
    path: Path | None = None
    """Where the files are; only for sources that the user keeps."""
    known: tuple[int, ...] = ()
    """Which classes `classes` are in the source's own numbering, where others were left out; their rows are UNKNOWN."""

    def __post_init__(self) -> None:
        # Sources may share their arrays between data sets: nobody may write into them.
        self.labels.flags.writeable = False
        self.index.flags.writeable = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        return self.channels, self.height, self.width

    @property
    def permuted_as(self) -> str:
        """What names the permutation of which a selection takes the first rows: equal for rows that are compared."""
        return self.name

    def key(self, position: int) -> str:
        """A name for one sample, the same in every split that holds it."""
        return f"{self.index[position]:05d}"

    @abstractmethod
    def read(self, positions: Positions) -> Images:
        """Pixels of the rows at these positions (0 is the first row of this split), in the order asked for."""

    def masks(self, positions: Positions) -> NDArray[np.bool_] | None:
        """The object's pixels of these rows, [n, H, W], where the source knows them."""
        return None


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """Pixels as float32 in [0, 1]."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(255)
    return pixels.astype(np.float32, copy=False)


def sample_digest(pixels: Pixels) -> bytes:
    """What identifies one image [C, H, W] in every store: 16 bytes of the sha256 over its dtype, shape and pixels."""
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    header = f"{little.dtype.str}[{','.join(map(str, little.shape))}]"
    return hashlib.sha256(header.encode() + little.tobytes()).digest()[:16]
