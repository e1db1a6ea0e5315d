"""Reading a store: nothing is handed out that was not checked first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import InputError, UnavailableError
from xaicli.files.canonical import digest_json, parse_json
from xaicli.files.columns import DIGEST, Array, base_columns
from xaicli.files.compression import check_inflation
from xaicli.files.digest import content_hex, content_sum
from xaicli.files.header import is_summary, read_summary
from xaicli.files.layout import OWN_ATTRIBUTES
from xaicli.files.rows import RowReader, plain_values
from xaicli.files.segment import SEGMENT_KIND
from xaicli.files.verified import VerifiedFile, open_verified, reading

_SLAB_BYTES = 16 << 20


def open_store(path: str | Path, *, max_memory: int | None = None) -> Store:
    """Open a store for reading. Structure, schema and header are checked now, each row when it is read.

    max_memory: the most bytes that a chunk or one answer may have. Raises MissingError if there is no readable file,
    RefusedError if the file reaches outside of itself, and InputError if it is no intact store.

        with xaicli.open_store("maps.h5") as store:
            maps = store["attribution"]  # float32 [N, C, H, W]
    """
    path = Path(path)
    verified = open_verified(path, max_memory)
    try:
        with reading(path):
            return Store(verified, max_memory)
    except BaseException:
        verified.file.close()
        raise


class Store:
    """A read-only view of a store, to be opened with `open_store`; a context manager; its `len` is its rows N.

    path: where it is. kind: "attributions", "images", "scores", "features", "influence" or "representer". rows: N.
    id: 64 hex digits that name this very content. job_id: those of its job; job: what that was asked to do.
    history: the lineage, oldest first. attributes: the further root attributes. sources: of a scores store, one dict
    for each group /sources/<n>.
    columns: the names of what it holds per row. Among them are, where the kind has them:
    `attribution` float32 [N, C or 1, H, W], signed, in units of the explained quantity; `data` [N, C, H, W], uint8 in
    0..255 or float32 in [0, 1]; `prediction` float32 [N, K], logits; `index` uint64 [N], the row in the data set;
    `label`, `target`, `against` uint16 [N], 65535 for unknown or none; `status` uint8 [N], see `columns.Status`;
    `key` text [N]; `sample` uint8 [N, 16], the start of the image's sha256; `digest` uint8 [N, 16], of the row.
    """

    def __init__(self, verified: VerifiedFile, max_memory: int | None) -> None:
        self._verified = verified
        self._max_memory = max_memory
        self.path = verified.path
        self.kind = verified.text("kind")
        if self.kind == SEGMENT_KIND:
            raise InputError(f"'{self.path}' is a part of an unfinished store; run its command again.")
        self.rows = verified.number("rows")
        self.job_id = verified.text("job_id")
        self.job: dict[str, Any] = self._json("job")
        self.history: tuple[dict[str, Any], ...] = tuple(self._json("history"))
        self.attributes = {name: self._json(name) for name in sorted(verified.attributes.keys() - OWN_ATTRIBUTES)}
        self.sources = self._read_sources()
        datasets = {name: item for name, item in verified.objects.items() if hasattr(item, "dtype")}
        self._summaries = {name: item for name, item in datasets.items() if is_summary(name)}
        self._columns = {name: item for name, item in datasets.items() if not is_summary(name)}
        self.columns = tuple(self._columns)
        self._check_schema()
        self._reader = RowReader(self.path, self._columns)
        identity = f"{self.job_id}{verified.text('header')}{verified.text('content')}"
        self.id = hashlib.sha256(identity.encode()).hexdigest()

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        return f"<Store {self.path.name}: {self.rows} rows of {self.kind}, id {self.id[:12]}>"

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, name: str) -> Array:
        """A whole column, [N, *shape], of which every row was checked. Raises InputError if one is damaged."""
        dataset = self._dataset(name)
        self._check_memory(dataset.nbytes)
        text = dataset.dtype.kind == "S"
        result = np.empty(dataset.shape, f"<U{dataset.dtype.itemsize}" if text else dataset.dtype.str)
        for start, batch in self._reader.batches(self.rows):
            with reading(self.path):
                result[start : start + len(batch[name])] = plain_values(batch[name])
        return result

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape [N, *shape] of a column, without reading it."""
        return tuple(int(side) for side in self._dataset(name).shape)

    def column(self, name: str) -> Array:
        """A whole column, [N, *shape], not compared with the rows' digests: for a quick look at small ones."""
        dataset = self._column(name)
        self._check_memory(dataset.nbytes)
        with reading(self.path):
            return plain_values(dataset[()])

    def predicted(self) -> NDArray[np.int64]:
        """The class with the largest logit of every row, [N], read in slabs: logits of many classes are large."""
        logits = self._column("prediction")
        step = max(_SLAB_BYTES // max(logits.shape[1] * 4, 1), 1)
        with reading(self.path):
            found = [logits[start : start + step].argmax(1) for start in range(0, self.rows, step)]
        return np.concatenate(found).astype(np.int64)

    def read(self, rows: slice | NDArray[Any], names: Iterable[str] | None = None) -> dict[str, Array]:
        """Some rows: name -> array [n, *shape], each row checked against its digest.

        rows: a slice, or an array of row numbers. names: the columns wanted, default all (to check a row, all of it is
        read). Raises InputError naming row and key if a row is damaged, IndexError for a row that does not exist.
        """
        wanted = self.columns if names is None else tuple(names)
        for name in wanted:
            self._dataset(name)
        numbers = np.arange(self.rows)[rows]
        self._check_memory(len(numbers) * self._reader.row_bytes)
        unique, inverse = np.unique(numbers, return_inverse=True)
        found = self._reader.read(unique)
        with reading(self.path):
            values = {name: plain_values(found[name]) for name in wanted}
        return values if np.array_equal(unique, numbers) else {name: values[name][inverse] for name in wanted}

    def verify(self) -> None:
        """Check every row and their sum. Raises InputError naming the first damaged row."""
        total = sum(content_sum(batch[DIGEST]) for _, batch in self._reader.batches(self.rows))
        if content_hex(total) != self._verified.text("content"):
            raise InputError(f"'{self.path}' is damaged: its rows do not add up to its content digest; make it again.")

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """The mean curves over rows: name -> float64 [L], NaN where no row counted."""
        return self._read_summaries("curves/")

    def aggregates(self) -> dict[str, Any]:
        """What was computed from all rows: name -> array, or text (JSON)."""
        return self._read_summaries("aggregates/")

    def close(self) -> None:
        """Close the file. Arrays handed out stay valid."""
        self._verified.file.close()

    def _json(self, name: str) -> Any:
        return parse_json(self._verified.text(name), f"the attribute {name!r} of '{self.path}'")

    def _column(self, name: str) -> Any:
        """A column's dataset, as it is read without its digests."""
        dataset = self._dataset(name)
        check_inflation(dataset, self.path)
        return dataset

    def _dataset(self, name: str) -> Any:
        if name not in self._columns:
            raise InputError(f"'{self.path}' has no column {name!r}; choose one of {', '.join(self.columns)}.")
        return self._columns[name]

    def _read_summaries(self, prefix: str) -> dict[str, Any]:
        with reading(self.path):
            found = {name: read_summary(name, item) for name, item in self._summaries.items()}
        return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}

    def _read_sources(self) -> tuple[dict[str, Any], ...]:
        objects = self._verified.objects
        sources: list[dict[str, Any]] = []
        while (group := objects.get(f"sources/{len(sources)}")) is not None:
            what = f"an attribute of /sources/{len(sources)} in '{self.path}'"
            sources.append({name: parse_json(group.attrs[name], what) for name in group.attrs})
        return tuple(sources)

    def _check_memory(self, needed: int) -> None:
        if self._max_memory is not None and needed > self._max_memory:
            raise UnavailableError(
                f"reading this from '{self.path}' takes {needed:,} bytes and --max-memory is {self._max_memory:,}; "
                "read fewer rows at a time or allow more."
            )

    def _check_schema(self) -> None:
        if digest_json(self.job) != self.job_id:
            raise InputError(f"'{self.path}' is damaged: its job does not have its digest; make it again.")
        for name, dataset in self._columns.items():
            if not dataset.shape or dataset.shape[0] != self.rows:
                raise InputError(f"/{name} of '{self.path}' does not have the store's {self.rows} rows; make it again.")
        for column in base_columns(1):
            found = self._columns.get(column.name)
            text = column.storage.kind == "S"
            if (
                found is None
                or found.shape[1:] != column.shape
                or (found.dtype.kind != "S" if text else found.dtype != column.storage)
            ):
                raise InputError(f"'{self.path}' lacks the column {column.name!r} that every store has; make it again.")
        if self._verified.attributes.get("signal") not in self._columns:
            raise InputError(f"'{self.path}' lacks the column that it names as its signal; make it again.")
