"""Writing a store block by block: in any order, from any number of processes, with any number of interruptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import ExistsError, InputError, MissingError, OutputError, XaicliError
from xaicli.files.columns import DIGEST
from xaicli.files.digest import row_digests
from xaicli.files.growing import Block, GrowingSegment
from xaicli.files.layout import StoreLayout
from xaicli.files.merge import Summarise, merge_parts
from xaicli.files.parts import find_segments, locate_blocks, parts_folder, remove_parts, sweep_parts
from xaicli.files.store import Store, open_store

SEGMENT_BYTES = 256 << 20
SEGMENT_SECONDS = 300.0


class StoreWriter:
    """Collects the blocks of one store and publishes them; blocks that are in `done` need not be computed.

    path: of the store. Finished blocks lie in PATH.parts/ until `finish` merges them. layout: of the job.
    force: discard a store or parts of another job under that name, and a finished store of this one.
    own: the blocks that this process computes, if it is not alone; see `find_segments`.
    segment_bytes, segment_seconds: publish a segment when it holds as much, or when the last one is as old.
    Raises ExistsError if the name is taken by another job. As a context manager it publishes on leaving what is held.
    """

    def __init__(
        self,
        path: str | Path,
        layout: StoreLayout,
        *,
        force: bool = False,
        own: Collection[int] | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = Path(path)
        self.layout = layout
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._clock = clock
        self._growing: GrowingSegment | None = None
        self._finished = not force and finished_store(self.path, layout)
        folder = parts_folder(self.path)
        places = locate_blocks(find_segments(folder, layout, force=force, own=own))
        self._published = {number: place.segment.fingerprints[place.slot] for number, place in places.items()}
        sweep_parts(folder)
        self._last = clock()

    @property
    def done(self) -> frozenset[int]:
        """The blocks that are finished: published by anybody before this writer began, or written through it."""
        if self._finished:
            return frozenset(range(self.layout.blocks))
        return frozenset((*self._published, *self._unpublished))

    @property
    def held_bytes(self) -> int:
        """Bytes of the blocks that would be lost with this process."""
        return self._growing.size if self._growing else 0

    @property
    def _unpublished(self) -> dict[int, bytes]:
        return self._growing.fingerprints if self._growing else {}

    def write(
        self, block: int, rows: Mapping[str, object], sums: Mapping[str, NDArray[np.float64]] | None = None
    ) -> None:
        """Take the results of one block and publish what is held when that is due.

        rows: every column but `digest` -> [rows of the block, *shape]; arrays are copied. sums: every curve -> float64
        [L + 1], the sum over the block's rows and, last, how many rows were summed. Raises ValueError for arrays that
        are not those of the layout, InputError for a finished block with another result, OutputError as `flush` does.
        """
        finished = self._encode(block, rows, sums or {})
        known = self._unpublished.get(block) or self._published.get(block)
        if known is not None:
            if known != finished.fingerprint:
                raise InputError(
                    f"block {block} of '{self.path}' was computed twice with different results; remove "
                    f"'{parts_folder(self.path)}' and run again on one kind of hardware with the same --threads."
                )
            return
        if self._growing is not None and not self._growing.takes(finished):
            self.flush()
        if self._growing is None:
            self._growing = GrowingSegment(parts_folder(self.path), self.layout, block)
        try:
            self._growing.append(finished)
        except BaseException:
            self._growing = None
            raise
        if self.held_bytes >= self._segment_bytes or self._clock() - self._last >= self._segment_seconds:
            self.flush()

    def flush(self) -> None:
        """Publish what is held as one segment. Raises OutputError if that fails; earlier segments are intact then."""
        if self._growing is not None:
            growing, self._growing = self._growing, None
            growing.publish()
            self._published.update(growing.fingerprints)
        self._last = self._clock()

    def finish(self, summarise: Summarise | None = None) -> Store:
        """Merge all blocks, of this and other processes, into the store, and open it.

        summarise: computes the aggregates from the merged rows (see `merge_parts`). Raises InputError, listing them, if
        blocks are missing, and OutputError if writing fails.
        """
        self.flush()
        if self._finished:
            remove_parts(self.path)
        else:
            try:
                merge_parts(self.path, self.layout, summarise)
            except (InputError, MissingError):
                if not finished_store(self.path, self.layout):  # another process with the same job was faster
                    raise
        return open_store(self.path)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, Exception) and not isinstance(error, OutputError)):
            self.flush()  # also when a later block failed: what is computed is computed
        elif self._growing is not None:
            self._growing.discard()
            self._growing = None

    def _encode(self, block: int, rows: Mapping[str, object], sums: Mapping[str, NDArray[np.float64]]) -> Block:
        layout = self.layout
        if not 0 <= block < layout.blocks:
            raise ValueError(f"block {block} is none of the {layout.blocks} blocks")
        columns = [column for column in layout.columns if column.name != DIGEST]
        if rows.keys() != {column.name for column in columns}:
            odd = sorted(rows.keys() ^ {column.name for column in columns})
            raise ValueError(f"the columns {odd} are missing or not of this store")
        if sums.keys() != layout.curves.keys():
            raise ValueError(f"the curves of this store are {sorted(layout.curves)}, not {sorted(sums)}")
        encoded = {column.name: column.encode(rows[column.name], layout.block_rows(block)) for column in columns}
        encoded[DIGEST] = row_digests(encoded)
        totals = {name: np.array(values, dtype="<f8") for name, values in sums.items()}
        for name, values in totals.items():
            if values.shape != (layout.curves[name] + 1,):
                raise ValueError(f"curve {name!r} takes {layout.curves[name]} sums and a count, not {values.shape}")
        return Block(block, encoded, totals)


def finished_store(path: Path, layout: StoreLayout) -> bool:
    """Whether the job's finished store is at `path`. Raises ExistsError if anything else is there."""
    if not path.exists() and not path.is_symlink():
        return False
    try:
        with open_store(path) as store:
            same = store.job_id == layout.job_id
    except XaicliError as error:
        raise ExistsError(
            f"'{path}' exists and is no intact store; use --force to replace it, or another name."
        ) from error
    if not same:
        raise ExistsError(f"'{path}' is the result of another job; use --force to replace it, or another name.")
    return True
