"""The rows that a command reads: a data set or an images store, a selection of it, and how both are named in a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import Dataset, sample_digest, to_float
from xaicli.errors import InputError
from xaicli.files.columns import Status

READ_ROWS = 256  # that are held at once by what looks at each row alone


@dataclass(frozen=True)
class Rows:
    """Some rows, ready for the model. Rows that cannot be used are zero and carry their status."""

    positions: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.float32]  # [n, C, H, W] in [0, 1]
    stored: npt.NDArray[Any]  # the same as the source holds them, uint8 or float32
    status: npt.NDArray[np.uint8]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def samples(self) -> npt.NDArray[np.uint8]:
        """The images' digests, [n, 16]; computed once for all stores of a run."""
        return np.stack([np.frombuffer(sample_digest(image), dtype=np.uint8) for image in self.stored])

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns that identify a row in every store."""
        return {
            "index": self.index.astype(np.uint64),
            "label": self.labels.astype(np.uint16),
            "key": np.array([key.encode() for key in self.keys]),
            "sample": self.samples,
            "status": self.status.copy(),
        }


@dataclass(frozen=True)
class Inputs:
    """Positions of a data set in the order they are worked on."""

    dataset: Dataset
    positions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def longest_key(self) -> int:
        """Bytes of the longest sample name, which fixes the width of a store's `key` column."""
        return max(len(self.dataset.key(int(position)).encode()) for position in self.positions)

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """The rows' numbers in their data set."""
        return self.dataset.index[self.positions]

    def load(self, start: int, stop: int) -> Rows:
        """Read rows start..stop-1 of the selection."""
        positions = self.positions[start:stop]
        images = self.dataset.read(positions)
        stored = images.pixels
        pixels = to_float(stored)
        status = np.full(len(positions), Status.OK, dtype=np.uint8)
        finite = np.isfinite(pixels).all(axis=(1, 2, 3))
        status[~finite] = Status.NON_FINITE
        status[~images.readable] = Status.UNREADABLE
        unusable = status != Status.OK
        if unusable.any():
            pixels = pixels.copy()
            pixels[unusable] = 0
        return Rows(
            positions=positions,
            index=self.dataset.index[positions],
            labels=self.dataset.labels[positions],
            pixels=pixels,
            stored=stored,
            status=status,
            keys=[self.dataset.key(int(position)) for position in positions],
        )

    def pieces(self) -> Iterator[Rows]:
        """All rows in their order, a few hundred at a time."""
        for start in range(0, len(self), READ_ROWS):
            yield self.load(start, min(start + READ_ROWS, len(self)))


def match_rows(dataset: Dataset, index: npt.NDArray[np.int64], child: str) -> Inputs:
    """The rows of a data set that an existing store was made from, in the store's order."""
    where = {int(number): position for position, number in enumerate(dataset.index)}
    try:
        positions = np.array([where[int(number)] for number in index], dtype=np.int64)
    except KeyError as missing:
        raise InputError(
            f"row {missing} of '{child}' is not in the data '{dataset.name}'; name its own data."
        ) from None
    return Inputs(dataset, positions)
