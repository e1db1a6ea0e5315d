"""Digests of rows: what makes a damaged or exchanged row visible to whoever reads it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from xaicli.files.canonical import canonical_json
from xaicli.files.columns import DIGEST, Array

_BYTES = 16
_PACKED_ROW = 1024  # columns with rows up to this size are hashed together, which saves a call each


def row_digests(rows: Mapping[str, Array]) -> NDArray[np.uint8]:
    """BLAKE2b-128 of each row, as [n, 16].

    rows: name -> array [n, *shape] in the type of the file. Hashed are, column by column in the order of the names and
    without the column `digest`: the JSON text [name, type, shape of a row], then the row's bytes.
    """
    pieces: list[NDArray[np.uint8]] = []
    run: list[NDArray[np.uint8]] = []
    for name in sorted(rows.keys() - {DIGEST}):
        array = np.ascontiguousarray(rows[name])
        prefix = canonical_json([name, array.dtype.str, list(array.shape[1:])]).encode()
        data = array.reshape(len(array), math.prod(array.shape[1:])).view(np.uint8)
        run.append(np.tile(np.frombuffer(prefix, np.uint8), (len(array), 1)))
        if data.shape[1] <= _PACKED_ROW:
            run.append(data)
        else:
            pieces += [np.hstack(run), data]
            run = []
    if run:
        pieces.append(np.hstack(run))
    digests = bytearray()
    for row in zip(*pieces, strict=True):
        state = hashlib.blake2b(digest_size=_BYTES)
        for piece in row:
            state.update(piece)
        digests += state.digest()
    return np.frombuffer(bytes(digests), np.uint8).reshape(-1, _BYTES)


def content_sum(digests: NDArray[np.uint8]) -> int:
    """The sum of row digests [n, 16] mod 2^128, each a big-endian number: the order is no matter, and parts add up."""
    data = digests.tobytes()
    total = sum(int.from_bytes(data[start : start + _BYTES], "big") for start in range(0, len(data), _BYTES))
    return total % (1 << 8 * _BYTES)


def content_hex(total: int) -> str:
    """A content sum as 32 hex digits, the way it stands in a store."""
    return f"{total % (1 << 8 * _BYTES):0{2 * _BYTES}x}"
