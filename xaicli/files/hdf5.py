"""Writing HDF5 so that bytes depend on contents alone and a full disk is an ordinary error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, BinaryIO, TypeVar

import h5py
import numpy as np

from xaicli.files.atomic import publish
from xaicli.files.columns import STATUS, STATUS_NAMES, Array, Column
from xaicli.files.compression import filters_of
from xaicli.files.layout import StoreLayout

SYNC_BYTES = 64 << 20  # written before the disk is told to begin
SUMMARY_LIMIT = 64 << 20  # bytes of one summary dataset: a curve has hundreds of points
_FORMAT = ("earliest", "v110")  # a fixed range: other versions of HDF5 then write the same bytes

Result = TypeVar("Result")
AttributeValue = str | int | Sequence[str]


class Output:
    """An HDF5 file being written. HDF5 itself never sees a failure: `check` raises it, and `write_chunk` calls that."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self.file = h5py.File(sink, "w", libver=_FORMAT)

    def check(self) -> None:
        """Raise what went wrong in writing so far, if anything."""
        if self._sink.failure is not None:
            raise self._sink.failure

    def create_column(self, column: Column, rows: int, layout: StoreLayout, *, resizable: bool) -> Any:
        """A dataset for a column, without any row yet."""
        return self.file.create_dataset(
            column.name,
            shape=(rows, *column.shape),
            maxshape=(None, *column.shape) if resizable else None,
            chunks=layout.chunks[column.name],
            dtype=_file_type(column),
            fillvalue=None if column.storage.kind == "S" else column.fill_value,
            **(filters_of(column) if layout.compress else {}),
        )

    def write_chunk(self, dataset: Any, origin: tuple[int, ...], data: bytes | Array, filter_mask: int = 0) -> None:
        """Write one chunk's bytes as they will stand in the file; the mask tells which filters were skipped for it."""
        dataset.id.write_direct_chunk(origin, data, filter_mask)
        self.check()

    def write_array(
        self, name: str, values: Array | str, attributes: Mapping[str, AttributeValue] | None = None
    ) -> None:
        """Write a summary outright: an array of numbers, or a text as one fixed-length UTF-8 string.

        Raises ValueError for one that no reader would accept: other types, or more than 64 MiB.
        """
        if isinstance(values, str):
            data = values.encode()
            dataset = self.file.create_dataset(
                name, data=np.bytes_(data), dtype=h5py.string_dtype("utf-8", max(len(data), 1))
            )
        else:
            array = np.asarray(values)
            if array.dtype.kind not in "biuf" or array.nbytes > SUMMARY_LIMIT:
                raise ValueError(f"{name!r} holds {array.nbytes:,} bytes of {array.dtype}; a summary is a few numbers")
            dataset = self.file.create_dataset(name, data=array)
        set_attributes(dataset, attributes or {})
        self.check()

    def objects(self) -> dict[str, Any]:
        """Every group and dataset by its path, root ("") included, in sorted order."""
        objects: dict[str, Any] = {"": self.file}
        self.file.visititems(objects.__setitem__)
        return dict(sorted(objects.items()))


@contextmanager
def create_hdf5(path: str | os.PathLike[str]) -> Iterator[Output]:
    """An HDF5 file that is published under `path` when the block succeeds. Raises OutputError as `publish` does."""
    with publish(path) as file:
        sink = _Sink(file)
        output = Output(sink)
        try:
            try:
                yield output
            finally:
                output.file.close()
                sink.wait()
        except Exception:
            output.check()  # the cause of whatever HDF5 made of it
            raise
        output.check()


def set_attributes(target: Any, attributes: Mapping[str, AttributeValue]) -> None:
    """Set attributes of a file, group or dataset in the order given: texts, integers and lists of texts."""
    text = h5py.string_dtype("utf-8")
    for name, value in attributes.items():
        if isinstance(value, str):
            target.attrs.create(name, value, dtype=text)
        elif isinstance(value, int):
            target.attrs.create(name, value, dtype="<i8")
        else:
            target.attrs.create(name, list(value), dtype=text)


def _file_type(column: Column) -> Any:
    if column.name == STATUS:
        return h5py.enum_dtype(dict(STATUS_NAMES), basetype="u1")
    if column.storage.kind == "S":
        return h5py.string_dtype("utf-8", column.storage.itemsize)
    return column.storage


class _Sink:
    """The file object that HDF5 writes through; after the first failure it accepts everything and keeps nothing.

    An exception inside HDF5's write leaves its file open for good: it tries again when the interpreter exits, and
    crashes it. So the failure is remembered for `Output.check`, and HDF5 closes in peace what will not be published.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._end = 0
        self._unsynced = 0
        self._syncing: Thread | None = None
        self.failure: BaseException | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = self._end + offset if whence == os.SEEK_END else offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        found = self._attempt(lambda: self._file.read(size)) or b""
        return found.ljust(size, b"\0")

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view[:] = self.read(len(view))
        return len(view)

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._attempt(lambda: self._file.write(data))
        self._end = max(self._end, self._position + size)
        self._unsynced += size
        if self._unsynced >= SYNC_BYTES and (self._syncing is None or not self._syncing.is_alive()):
            self._unsynced = 0
            self._syncing = Thread(target=self._sync)
            self._syncing.start()
        return size

    def wait(self) -> None:
        """Let the disk finish what it has begun."""
        if self._syncing is not None:
            self._syncing.join()

    def _sync(self) -> None:
        """Have the disk work while more is computed; a failure is reported once only, so it is kept."""
        try:
            getattr(os, "fdatasync", os.fsync)(self._file.fileno())
        except OSError as error:
            self.failure = self.failure or error

    def truncate(self, size: int) -> int:
        self._attempt(lambda: self._file.truncate(size))
        self._end = size
        return size

    def flush(self) -> None:
        """Nothing: `publish` flushes and syncs once, at the end."""

    def _attempt(self, operation: Callable[[], Result]) -> Result | None:
        if self.failure is None:
            try:
                self._file.seek(self._position)
                return operation()
            except BaseException as error:
                self.failure = error
        return None
