"""A segment: one write-once file of finished blocks, complete in itself, on the way to a store."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import InputError
from xaicli.files.columns import DIGEST, Array, Column
from xaicli.files.digest import content_sum
from xaicli.files.hdf5 import Output, create_hdf5, set_attributes
from xaicli.files.header import SEGMENT_GROUP, header_digest, read_summary
from xaicli.files.layout import SCHEMA, StoreLayout
from xaicli.files.verified import VerifiedFile, open_verified, reading

SEGMENT_KIND = "segment"
_NAME = re.compile(r"([0-9a-f]{12})-\d{8,}-\d{8,}-[0-9a-f]{8}\.h5")


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


@dataclass(frozen=True)
class Segment:
    """What is known of a segment without reading its rows.

    numbers: its blocks, ascending; the place of a number is the block's slot. checksums: column -> CRC-32 of the stored
    bytes, [slots]. sums: curve -> [slots, points + 1].
    """

    path: Path
    layout: StoreLayout
    numbers: tuple[int, ...]
    fingerprints: tuple[bytes, ...]
    contents: tuple[int, ...]
    checksums: Mapping[str, NDArray[np.uint32]]
    sums: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Chunk:
    """One chunk as it is stored: its origin in the block, its bytes, and which filters were skipped for it."""

    origin: tuple[int, ...]
    data: bytes
    filter_mask: int


def segment_job(name: str) -> str | None:
    """The first 12 digits of the job id in a segment's file name, or None for another file."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


def write_segment(folder: Path, layout: StoreLayout, blocks: Sequence[Block]) -> Path:
    """Publish blocks as one segment in `folder`; equal blocks get an equal name, different ones never collide."""
    blocks = sorted(blocks, key=lambda block: block.number)
    numbers = [block.number for block in blocks]
    fingerprint = hashlib.sha256(repr([(block.number, block.fingerprint) for block in blocks]).encode()).hexdigest()
    path = folder / f"{layout.job_id[:12]}-{numbers[0]:08d}-{numbers[-1]:08d}-{fingerprint[:8]}.h5"
    with create_hdf5(path) as output:
        set_attributes(
            output.file,
            {
                "xaicli_schema": SCHEMA,
                "kind": SEGMENT_KIND,
                "job_id": layout.job_id,
                "rows": sum(layout.block_rows(number) for number in numbers),
                "layout": layout.to_json(),
            },
        )
        checksums = [_write_column(output, layout, column, blocks) for column in layout.columns]
        contents = [block.rows[DIGEST] for block in blocks]
        table = {
            "number": np.array(numbers, "<u8"),
            "fingerprint": np.array([list(block.fingerprint) for block in blocks], "u1"),
            "content": np.array([list(content_sum(digests).to_bytes(16, "big")) for digests in contents], "u1"),
            "checksum": np.array(checksums, "<u4"),
        }
        for curve in layout.curves:
            table[f"sums/{curve}"] = np.stack([block.sums[curve] for block in blocks])
        for name, values in table.items():
            output.write_array(f"{SEGMENT_GROUP}/{name}", values)
        set_attributes(output.file, {"header": header_digest(output.objects())})
    return path


def read_segment(path: Path) -> Segment:
    """Open, check all but the rows, and close a segment. Raises InputError if it is damaged."""
    verified = open_verified(path)
    with verified.file, reading(path):
        if verified.text("kind") != SEGMENT_KIND:
            raise InputError(f"'{path}' is a finished store among unfinished parts; move it elsewhere.")
        layout = StoreLayout.from_json(verified.text("layout"), f"the layout in '{path}'")
        table = {name: _table(verified, name) for name in ("number", "fingerprint", "content", "checksum")}
        numbers = tuple(table["number"].tolist())
        if layout.job_id != verified.text("job_id") or not _well_formed(verified, layout, numbers):
            raise InputError(f"'{path}' does not hold the blocks that it lists; remove the file and run again.")
        return Segment(
            path,
            layout,
            numbers,
            tuple(row.tobytes() for row in table["fingerprint"]),
            tuple(int.from_bytes(row.tobytes(), "big") for row in table["content"]),
            {column.name: checksums for column, checksums in zip(layout.columns, table["checksum"], strict=True)},
            {curve: _table(verified, f"sums/{curve}") for curve in layout.curves},
        )


def read_chunks(dataset: Any, segment: Segment, column: Column, slot: int) -> Iterator[Chunk]:
    """The stored chunks of one block of a column.

    Raises InputError after the last one if their checksum is wrong: nobody may publish them then.
    """
    layout = segment.layout
    checksum = 0
    for origin in layout.chunk_origins(column, segment.numbers[slot]):
        with reading(segment.path):
            mask, data = dataset.id.read_direct_chunk((slot * layout.block + origin[0], *origin[1:]))
        checksum = zlib.crc32(data, checksum)
        yield Chunk(origin, data, mask)
    if checksum != segment.checksums[column.name][slot]:
        raise InputError(
            f"block {segment.numbers[slot]} in '{segment.path}' is damaged; run the command that computes it again."
        )


def check_segment(segment: Segment) -> None:
    """Read every stored byte of the rows once. Raises InputError if one is not what was written."""
    verified = open_verified(segment.path)
    with verified.file:
        for column in segment.layout.columns:
            for slot in range(len(segment.numbers)):
                for _ in read_chunks(verified.objects[column.name], segment, column, slot):
                    pass


def _write_column(output: Output, layout: StoreLayout, column: Column, blocks: Sequence[Block]) -> list[int]:
    rows = sum(layout.block_rows(block.number) for block in blocks)
    chunk = layout.chunks[column.name]
    dataset = output.create_column(column, rows, chunk, resizable=True)
    checksums = []
    for slot, block in enumerate(blocks):
        checksum = 0
        values = block.rows[column.name]
        for origin in layout.chunk_origins(column, block.number):
            piece = values[tuple(slice(start, start + step) for start, step in zip(origin, chunk, strict=True))]
            if len(piece) < chunk[0]:  # the end of the last block; the rest of a chunk is stored all the same
                rest = (chunk[0] - len(piece), *chunk[1:])
                piece = np.concatenate([piece, np.full(rest, column.fill_value, column.storage)])
            data = np.ascontiguousarray(piece)
            output.write_chunk(dataset, (slot * layout.block + origin[0], *origin[1:]), data)
            checksum = zlib.crc32(data.data, checksum)
        checksums.append(checksum)
    return checksums


def _table(verified: VerifiedFile, name: str) -> Any:
    return read_summary(f"{SEGMENT_GROUP}/{name}", verified.objects[f"{SEGMENT_GROUP}/{name}"])


def _well_formed(verified: VerifiedFile, layout: StoreLayout, numbers: tuple[int, ...]) -> bool:
    rows = sum(layout.block_rows(number) for number in numbers if number < layout.blocks)
    return (
        len(numbers) > 0
        and list(numbers) == sorted(set(numbers))
        and numbers[-1] < layout.blocks
        and all(
            (item := verified.objects[column.name]).shape == (rows, *column.shape)
            and item.chunks == layout.chunks[column.name]
            and item.dtype == column.storage
            for column in layout.columns
        )
    )
