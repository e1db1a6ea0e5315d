"""Reading rows: each is compared with its digest before anybody sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import InputError
from xaicli.files.columns import DIGEST, Array
from xaicli.files.compression import check_inflation
from xaicli.files.digest import row_digests
from xaicli.files.verified import reading

_BATCH_BYTES = 16 << 20  # of rows that are held and checked together


class RowReader:
    """The row columns of an open store. datasets: name -> HDF5 dataset [N, *shape]."""

    def __init__(self, path: Path, datasets: Mapping[str, Any]) -> None:
        self._path = path
        self._datasets = datasets
        self._unchecked = list(datasets.values())
        self.row_bytes = sum(math.prod(item.shape[1:]) * item.dtype.itemsize for item in datasets.values())

    def read(self, numbers: NDArray[np.int64]) -> dict[str, Array]:
        """The rows of ascending numbers, in the file's types. Raises InputError naming the first damaged one."""
        while self._unchecked:
            check_inflation(self._unchecked.pop(), self._path)
        with reading(self._path):
            rows = {name: _read_numbers(dataset, numbers) for name, dataset in self._datasets.items()}
        damaged = np.flatnonzero((row_digests(rows) != rows[DIGEST]).any(axis=1))
        if damaged.size:
            key = rows["key"][damaged[0]].decode(errors="replace")
            raise InputError(
                f"row {numbers[damaged[0]]} (key {key!r}) of '{self._path}' is damaged: it does not have its digest; "
                "make the file again."
            )
        return rows

    def batches(self, total: int) -> Iterator[tuple[int, dict[str, Array]]]:
        """All rows, a bounded number at a time, each batch with its first row's number."""
        step = max(_BATCH_BYTES // self.row_bytes, 1)
        largest = max(dataset.chunks[0] if dataset.chunks else 1 for dataset in self._datasets.values())
        step = step // largest * largest or step  # no chunk is then read twice, where that is possible
        for start in range(0, total, step):
            yield start, self.read(np.arange(start, min(start + step, total)))


def plain_values(values: Array) -> Array:
    """Values as numpy users expect them: UTF-8 bytes become text, HDF5's enum becomes its numbers."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    return values.astype(values.dtype.str, copy=False)


def _read_numbers(dataset: Any, numbers: NDArray[np.int64]) -> Array:
    if not len(numbers) or numbers[-1] - numbers[0] == len(numbers) - 1:
        first = int(numbers[0]) if len(numbers) else 0
        values: Array = dataset[first : first + len(numbers)]
        return values
    result = np.empty((len(numbers), *dataset.shape[1:]), dataset.dtype)
    chunks = numbers // (dataset.chunks[0] if dataset.chunks else 1)
    starts = np.flatnonzero(np.diff(chunks, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):  # one read a chunk, not one a row
        some = numbers[start:stop]
        result[start:stop] = dataset[int(some[0]) : int(some[-1]) + 1][some - some[0]]
    return result
