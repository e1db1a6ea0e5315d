"""Compressed chunks: shuffled bytes through deflate, as HDF5's own filters do; and a check before they are inflated."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

from xaicli.errors import InputError
from xaicli.files.columns import Array, Column

LEVEL = 4  # of zlib; gradient maps lose 13 % of their size at any level


def filters_of(column: Column) -> dict[str, Any]:
    """What h5py is told of a compressed dataset."""
    return {"compression": "gzip", "compression_opts": LEVEL, "shuffle": column.storage.itemsize > 1}


def pack(chunk: Array) -> bytes:
    """The bytes of one contiguous chunk as they stand in the file."""
    data = chunk.tobytes()
    if chunk.itemsize > 1:
        data = chunk.view("u1").reshape(-1, chunk.itemsize).T.tobytes()
    return zlib.compress(data, LEVEL)


def check_inflation(dataset: Any, path: Path) -> None:
    """Raise InputError for a chunk that would inflate to anything but its declared size: HDF5 itself sets no limit."""
    if not dataset.id.get_create_plist().get_nfilters():
        return
    size = math.prod(dataset.chunks) * int(dataset.id.get_type().get_size())
    for number in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(number)
        inflating = zlib.decompressobj()
        try:
            mask, data = dataset.id.read_direct_chunk(info.chunk_offset)
            whole = mask == 0 and len(inflating.decompress(data, size + 1)) == size and inflating.eof
        except (zlib.error, OSError):
            whole = False
        if not whole:
            raise InputError(f"'{path}' is damaged: a compressed chunk does not have its size; make the file again.")
