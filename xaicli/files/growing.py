"""A segment while it grows: each finished block goes to a temporary file at once, so memory stays flat."""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.files.columns import DIGEST, Array, Column
from xaicli.files.compression import pack
from xaicli.files.digest import content_sum
from xaicli.files.hdf5 import create_hdf5, set_attributes
from xaicli.files.header import SEGMENT_GROUP, header_digest
from xaicli.files.layout import SCHEMA, StoreLayout
from xaicli.files.segment import SEGMENT_KIND, segment_name


@dataclass(frozen=True)
class Block:
    """The finished rows of one block, encoded: name -> array in the type of the file; curve -> sums and count."""

    number: int
    rows: Mapping[str, Array]
    sums: Mapping[str, NDArray[np.float64]]

    @cached_property
    def fingerprint(self) -> bytes:
        """16 bytes that are equal for equal blocks."""
        state = hashlib.blake2b(self.rows[DIGEST].tobytes(), digest_size=16)
        for name in sorted(self.sums):
            state.update(self.sums[name].tobytes())
        return state.digest()

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(array.nbytes for array in (*self.rows.values(), *self.sums.values()))


class GrowingSegment:
    """Blocks of one store, in ascending order, on their way to a segment; `publish` gives it its name.

    Every method raises OutputError if writing fails; the temporary file is then gone, and so are its blocks.
    """

    def __init__(self, folder: Path, layout: StoreLayout, first: int) -> None:
        self._folder, self._layout = folder, layout
        self._blocks: list[tuple[int, bytes, bytes, Mapping[str, NDArray[np.float64]]]] = []
        self._checksums: dict[str, list[int]] = {column.name: [] for column in layout.columns}
        self._rows = 0
        self.size = 0
        """Bytes of the rows so far."""
        self._file = ExitStack()
        self._output = self._file.enter_context(create_hdf5(folder / segment_name(layout, first)))
        self._datasets: dict[str, Any] = {
            column.name: self._output.create_column(column, 0, layout, resizable=True) for column in layout.columns
        }

    @property
    def fingerprints(self) -> dict[int, bytes]:
        """The blocks so far: number -> fingerprint."""
        return {number: fingerprint for number, fingerprint, _, _ in self._blocks}

    def takes(self, block: Block) -> bool:
        """Whether the block may follow the ones before it."""
        return not self._blocks or self._blocks[-1][0] < block.number

    def append(self, block: Block) -> None:
        """Write one block."""
        try:
            for column in self._layout.columns:
                self._checksums[column.name].append(self._write(column, block))
        except BaseException:
            self._file.__exit__(*sys.exc_info())  # which makes an OutputError of an OSError
            raise
        content = content_sum(block.rows[DIGEST]).to_bytes(16, "big")
        self._blocks.append((block.number, block.fingerprint, content, block.sums))
        self._rows += self._layout.block_rows(block.number)
        self.size += block.size

    def publish(self) -> None:
        """Complete the segment and let it appear under its name."""
        with self._file:
            set_attributes(
                self._output.file,
                {
                    "xaicli_schema": SCHEMA,
                    "kind": SEGMENT_KIND,
                    "job_id": self._layout.job_id,
                    "rows": self._rows,
                    "layout": self._layout.to_json(),
                },
            )
            numbers, fingerprints, contents, sums = zip(*self._blocks, strict=True)
            table = {
                "number": np.array(numbers, "<u8"),
                "fingerprint": np.array([list(fingerprint) for fingerprint in fingerprints], "u1"),
                "content": np.array([list(content) for content in contents], "u1"),
                "checksum": np.array([self._checksums[column.name] for column in self._layout.columns], "<u4"),
            }
            for curve in self._layout.curves:
                table[f"sums/{curve}"] = np.stack([own[curve] for own in sums])
            for name, values in table.items():
                self._output.write_array(f"{SEGMENT_GROUP}/{name}", values)
            set_attributes(self._output.file, {"header": header_digest(self._output.objects())})

    def discard(self) -> None:
        """Remove the temporary file, and the folder if nothing else is in it."""
        error = _DiscardedError()
        self._file.__exit__(type(error), error, None)
        with suppress(OSError):
            self._folder.rmdir()

    def _write(self, column: Column, block: Block) -> int:
        """Write one column of a block; returns the checksum of its bytes."""
        dataset, chunk = self._datasets[column.name], self._layout.chunks[column.name]
        dataset.resize(self._rows + self._layout.block_rows(block.number), axis=0)
        checksum = 0
        values = block.rows[column.name]
        for origin in self._layout.chunk_origins(column, block.number):
            piece = values[tuple(slice(start, start + step) for start, step in zip(origin, chunk, strict=True))]
            if len(piece) < chunk[0]:  # the end of the last block; the rest of a chunk is stored all the same
                rest = (chunk[0] - len(piece), *chunk[1:])
                piece = np.concatenate([piece, np.full(rest, column.fill_value, column.storage)])
            whole = np.ascontiguousarray(piece)
            data = pack(whole) if self._layout.compress else whole
            self._output.write_chunk(dataset, (self._rows + origin[0], *origin[1:]), data)
            checksum = zlib.crc32(data if isinstance(data, bytes) else data.data, checksum)
        return checksum


class _DiscardedError(Exception):
    """Thrown into the contexts of a file that is not wanted."""
