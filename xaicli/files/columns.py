"""The columns of every kind of store: name, type, shape of one row, and what stands there when nothing is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN_LABEL = 65535  # also "none" in `against`: no contrast
DIGEST = "digest"
STATUS = "status"

Array = NDArray[Any]


class Status(IntEnum):
    """What became of a row."""

    MISSING = 0
    OK = 1
    NON_FINITE = 2
    UNREADABLE = 3
    FAILED = 4


STATUS_NAMES = MappingProxyType({"missing": 0, "ok": 1, "non-finite": 2, "unreadable": 3, "failed": 4})
"""The members of the HDF5 enum in the column `status`, each with its number in `Status`."""


@dataclass(frozen=True)
class Column:
    """One value (or array) per row.

    name: the dataset's path in the file, such as "label" or "sources/0/deletion".
    dtype: a little-endian or one-byte numpy type: "<f4", "<f2", "|u1", "<u2", "|b1", "|S12" (UTF-8 of 12 bytes), ...
    shape: of one row; () for a number.
    fill: what an unknown row holds; None means NaN for floats and zero, False or "" for the rest.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    fill: float | None = None

    def __post_init__(self) -> None:
        storage = np.dtype(self.dtype)
        if storage.kind not in "biufS" or storage.itemsize == 0 or storage.newbyteorder("<") != storage:
            raise ValueError(f"column {self.name!r}: {self.dtype!r} is no little-endian number, boolean or byte string")
        if any(part in ("", ".", "..") for part in self.name.split("/")):
            raise ValueError(f"column {self.name!r}: the name is no path of plain words")
        if any(side < 1 for side in self.shape):
            raise ValueError(f"column {self.name!r}: the row shape {self.shape} has an empty side")
        object.__setattr__(self, "dtype", storage.str)
        object.__setattr__(self, "shape", tuple(int(side) for side in self.shape))
        if self.fill is not None and math.isnan(self.fill):
            object.__setattr__(self, "fill", None)

    @property
    def storage(self) -> np.dtype[Any]:
        """The numpy type of the bytes in the file."""
        return np.dtype(self.dtype)

    @property
    def row_bytes(self) -> int:
        """The size of one row in bytes."""
        return math.prod(self.shape) * self.storage.itemsize

    @property
    def fill_value(self) -> Any:
        """What stands in a row of which nothing is known, as a value of the column's type."""
        fill = self.fill if self.fill is not None else (math.nan if self.storage.kind == "f" else 0)
        return self.storage.type(b"" if self.storage.kind == "S" else fill)

    def empty(self, rows: int) -> Array:
        """An array [rows, *shape] of which nothing is known yet."""
        return np.full((rows, *self.shape), self.fill_value, dtype=self.storage)

    def encode(self, values: object, rows: int) -> Array:
        """A copy of `values` as [rows, *shape] in the column's type, contiguous.

        Text becomes UTF-8; integers are converted if they fit; floats are rounded. Raises ValueError for a wrong
        shape, for numbers that do not fit and for texts longer than the column: mistakes of the caller.
        """
        array = np.asarray(values)
        if array.dtype.kind in "OU":
            array = _utf8(array)
        if array.shape != (rows, *self.shape):
            raise ValueError(f"column {self.name!r} takes an array of shape {(rows, *self.shape)}, not {array.shape}")
        if not _convertible(array.dtype, self.storage):
            raise ValueError(f"column {self.name!r} holds {self.storage}, which cannot take {array.dtype}")
        with np.errstate(over="ignore"):  # a float that overflows float16 is infinite, as in torch
            encoded = array.astype(self.storage, order="C", copy=True)
        if self.storage.kind != "f" and not np.array_equal(encoded, array):
            raise ValueError(f"column {self.name!r} holds {self.storage}, and some of the values do not fit")
        return encoded


JUDGED = (Column("known_score", "<f4"), Column("refused", "|u1"))
"""Of a row that its checkpoint may refuse: the detector's score, higher is more known, and 1 where it is UNKNOWN."""


def base_columns(key_length: int) -> tuple[Column, ...]:
    """The columns of every store. key_length: bytes of the job's longest key in UTF-8."""
    return (
        Column("index", "<u8"),
        Column("label", "<u2", fill=UNKNOWN_LABEL),
        Column(STATUS, "|u1"),
        Column("key", f"|S{max(key_length, 1)}"),
        Column("sample", "|u1", (16,)),
        Column(DIGEST, "|u1", (16,)),
    )


def attribution_columns(
    *,
    shape: Sequence[int],
    classes: int,
    key_length: int,
    dtype: str = "<f4",
    completeness: bool = False,
    deviation: bool = False,
    inputs: tuple[Sequence[int], str] | None = None,
    extra: Iterable[Column] = (),
) -> tuple[Column, ...]:
    """The columns of a store of maps.

    shape: (C or 1, H, W) of a map. classes: K of `prediction`. dtype: "<f4" or "<f2" of the maps. completeness: whether
    the method promises a sum. deviation: whether maps are means over draws, which have one. inputs: shape (C, H, W) and
    type ("|u1" or "<f4") of the images, if they are kept. extra: further columns of the method, before the large ones.
    """
    return (
        *base_columns(key_length),
        Column("target", "<u2", fill=UNKNOWN_LABEL),
        Column("against", "<u2", fill=UNKNOWN_LABEL),
        Column("prediction", "<f4", (classes,)),
        *([Column("completeness", "<f4")] if completeness else []),
        *extra,
        *([Column("data", inputs[1], tuple(inputs[0]))] if inputs else []),
        *([Column("deviation", dtype, tuple(shape))] if deviation else []),
        Column("attribution", dtype, tuple(shape)),
    )


def finding_columns(
    *,
    classes: int,
    key_length: int,
    explained: bool = True,
    inputs: tuple[Sequence[int], str] | None = None,
    extra: Iterable[Column],
) -> tuple[Column, ...]:
    """The columns of a store that explains without maps: `features`, `representer`.

    classes: K of `prediction`. explained: whether it is about a class, the `target`, or the image as such. inputs:
    shape (C, H, W) and type of the images, if they are kept. extra: what the method has found.
    """
    target = (Column("target", "<u2", fill=UNKNOWN_LABEL), Column("against", "<u2", fill=UNKNOWN_LABEL))
    return (
        *base_columns(key_length),
        *(target if explained else ()),
        Column("prediction", "<f4", (classes,)),
        *extra,
        *([Column("data", inputs[1], tuple(inputs[0]))] if inputs else []),
    )


def attack_columns(
    *, shape: Sequence[int], classes: int, key_length: int, dtype: str = "<f4", extra: Iterable[Column] = ()
) -> tuple[Column, ...]:
    """The columns of a store of attacked images.

    shape: (C, H, W). classes: K of `prediction`, the logits on the attacked image. dtype: "|u1" when lossless, else
    "<f4". `target` is a targeted attack's class (65535: untargeted), `distance` is in the attack's norm (pixels in
    [0, 1]), `steps` counts the attack's steps, and `index` is the clean row's.
    """
    return (
        *base_columns(key_length),
        Column("target", "<u2", fill=UNKNOWN_LABEL),
        Column("prediction", "<f4", (classes,)),
        Column("success", "|b1"),
        Column("distance", "<f4"),
        Column("steps", "<u4"),
        *extra,
        Column("data", dtype, tuple(shape)),
    )


def generate_columns(
    *,
    shape: Sequence[int],
    classes: int,
    key_length: int,
    steps: int,
    dtype: str = "|u1",
    extra: Iterable[Column] = (),
) -> tuple[Column, ...]:
    """The columns of a store of generated images.

    shape: (C, H, W). classes: K of `prediction`, the logits on the generated image. steps: points of the `loss` curve.
    `target` is the class that was driven, `start` the row of the image begun from (its fill: no such image), `score`
    the objective reached (of inversions the loss left, of counterfactuals the probability). `loss` is NaN behind the
    stored image's.
    """
    return (
        *base_columns(key_length),
        Column("target", "<u2", fill=UNKNOWN_LABEL),
        Column("start", "<i8", fill=-1),
        Column("prediction", "<f4", (classes,)),
        Column("score", "<f4"),
        *extra,
        Column("loss", "<f4", (steps,)),
        Column("data", dtype, tuple(shape)),
    )


def score_columns(
    metrics: Sequence[Sequence[str]], *, key_length: int, extra: Iterable[Column] = ()
) -> tuple[Column, ...]:
    """The columns of a store of scores. metrics[n]: the names `metric[@baseline]` of source n, each one float a row."""
    scores = (Column(f"sources/{n}/{name}", "<f4") for n, names in enumerate(metrics) for name in names)
    return (*base_columns(key_length), *extra, *scores)


def longest_key(keys: Iterable[str]) -> int:
    """The bytes of the longest key in UTF-8, at least one: the `key_length` of a job."""
    return max((len(key.encode()) for key in keys), default=1) or 1


def _utf8(array: Array) -> Array:
    encoded = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel().tolist()]
    return np.array(encoded or b"", dtype=np.bytes_).reshape(array.shape)


def _convertible(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    if target.kind == "f":
        return source.kind in "fiu"
    if target.kind in "iu":
        return source.kind in "biu"
    return source.kind == target.kind
