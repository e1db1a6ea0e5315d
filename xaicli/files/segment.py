"""A segment: one write-once file of finished blocks, complete in itself, on the way to a store."""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import InputError
from xaicli.files.columns import Column
from xaicli.files.header import SEGMENT_GROUP, read_summary
from xaicli.files.layout import StoreLayout
from xaicli.files.verified import VerifiedFile, open_verified, reading

SEGMENT_KIND = "segment"
_NAME = re.compile(r"([0-9a-f]{12})-\d{8,}-[0-9a-f]{8}\.h5")


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


def segment_name(layout: StoreLayout, first: int) -> str:
    """A new file name for a segment whose first block has this number; no two segments share one."""
    return f"{layout.job_id[:12]}-{first:08d}-{secrets.token_hex(4)}.h5"


def segment_job(name: str) -> str | None:
    """The first 12 digits of the job id in a segment's file name, or None for another file."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


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
