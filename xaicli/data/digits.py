"""`digits`: the 1,797 handwritten digits that ship with scikit-learn (E. Alpaydin, C. Kaynak; UCI, 1998)."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Dataset, Images, Positions, Rows
from xaicli.data.resize import resize_all
from xaicli.data.splits import Split, hold_out, rows_of
from xaicli.errors import InputError, UnavailableError

SIDE = 32
FILE = "datasets/data/digits.csv.gz"
SHA256 = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"
"""Of the 1,797 rows of 64 values and a label, as uint8."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Digits(Dataset):
    """The digits of one split, [N, 1, 32, 32] unless another size was asked for."""

    images: NDArray[np.uint8]
    numbers: Rows
    """Which of scikit-learn's 1,797 digits each row is."""

    def key(self, position: int) -> str:
        """The digit's number in scikit-learn's data set."""
        return f"{self.numbers[position]:04d}"

    def read(self, positions: Positions) -> Images:
        """Pixels of these rows; all are readable."""
        pixels = self.images[np.asarray(positions, dtype=np.int64)]
        return Images(pixels, np.ones(len(pixels), dtype=bool))


def open_digits(split: Split, shape: tuple[int, int, int] | None = None) -> Digits:
    """The 1,437 training or 360 test digits (a fifth of each class), or the fit and val parts of the former."""
    channels, height, width = shape or (1, SIDE, SIDE)
    if channels != 1:
        raise InputError(
            f"the images of digits have 1 channel, not the {channels} asked for; take a model of 1 channel."
        )
    images, labels = _all_digits()
    train, test = hold_out(labels, tenths=2)
    full = test if split == "test" else train
    index = rows_of(split, labels[full])
    numbers = full[index]
    return Digits(
        name="digits",
        split=split,
        classes=tuple("0123456789"),
        channels=1,
        height=height,
        width=width,
        labels=labels[numbers],
        index=index,
        digest=hashlib.sha256(images[full].tobytes() + labels[full].astype("<i8").tobytes()).hexdigest(),
        images=resize_all(images[numbers], height, width),
        numbers=numbers,
    )


@cache
def _all_digits() -> tuple[NDArray[np.uint8], Rows]:
    table = _table()
    images = enlarge(table[:, :64].reshape(-1, 1, 8, 8))
    return images, table[:, 64].astype(np.int64)


def _table() -> NDArray[np.uint8]:
    """The rows of scikit-learn's file, read directly because importing scikit-learn takes 1.6 s."""
    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0]) / FILE if folders else None
    if path is not None and path.is_file():
        with gzip.open(path, "rt", encoding="ascii") as lines:
            table = np.array([line.split(",") for line in lines], dtype=np.uint8)
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        table = np.column_stack([digits.data, digits.target]).astype(np.uint8)
    if hashlib.sha256(table.tobytes()).hexdigest() != SHA256:
        raise UnavailableError(
            "the digits that the installed scikit-learn ships are not the 1,797 known ones; "
            "install an unmodified release of scikit-learn."
        )
    return table


def enlarge(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[n, 1, 8, 8] of 0..16 to [n, 1, 32, 32] of 0..255: bilinear between pixel centres, in integers.

    A pixel of the result lies 1/8, 3/8, 5/8 or 7/8 of the way between two centres, so every weight is a whole number of
    eighths per axis; beyond the outermost centres the edge is repeated. Rounded to the nearest, halves up.
    """
    rows = _between_centres(grey.astype(np.int64), axis=2)
    both = _between_centres(rows, axis=3)
    full = 16 * 64
    return ((2 * 255 * both + full) // (2 * full)).astype(np.uint8)


def _between_centres(values: NDArray[np.int64], *, axis: int) -> NDArray[np.int64]:
    eighths = 2 * np.arange(4 * values.shape[axis]) - 3
    low, part = np.divmod(eighths, 8)
    last = values.shape[axis] - 1
    spread = [1] * values.ndim
    spread[axis] = len(part)
    weight = part.reshape(spread)
    before = values.take(np.clip(low, 0, last), axis=axis)
    after = values.take(np.clip(low + 1, 0, last), axis=axis)
    between: NDArray[np.int64] = (8 - weight) * before + weight * after
    return between
