"""What a store will be before any row is computed: its job, its columns, and their cut into blocks and chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from xaicli.errors import InputError
from xaicli.files.canonical import canonical_json, digest_json, parse_json
from xaicli.files.columns import DIGEST, Column

SCHEMA = 1
CHUNK_BYTES = 1 << 20  # at most, except that a chunk holds at least one number
SUMMARY_GROUPS = ("curves", "aggregates")
SIGNALS = {
    "attributions": "attribution",
    "images": "data",
    "influence": "attribution",
    "features": "features",
    "representer": "exciting_value",
}
"""Kind -> the column that a viewer plots first, without which there is no such store."""
OWN_ATTRIBUTES = frozenset(
    ("xaicli_schema", "kind", "job", "job_id", "rows", "content", "history", "NX_class", "signal", "axes", "header")
)


@dataclass(frozen=True)
class StoreLayout:
    """Everything about a store but its rows. Two runs of one job have equal layouts.

    kind: "attributions", "images", "scores", ...
    job: what determines every number in the rows (SPEC 5); its digest is `job_id`. JSON-able, as is all below.
    history: the whole lineage, oldest first: verb, options, parents' ids and versions.
    rows: N, at least 1. block: rows of a block; the last may be shorter.
    columns: in the order of the file; `digest` is among them and is computed by the writer.
    curves: name -> number of points L of a mean curve over rows (the writer is handed sums, see StoreWriter.write).
    attributes: further root attributes, each stored as JSON under its own name.
    sources: the attributes of the groups /sources/<n> of a scores store.
    compress: whether chunks are deflated; not part of the job, because it changes no number.
    """

    kind: str
    job: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    rows: int
    block: int
    columns: tuple[Column, ...]
    curves: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Mapping[str, Any], ...] = ()
    compress: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "history", tuple(self.history))
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "sources", tuple(self.sources))
        names = [column.name for column in self.columns]
        if self.rows < 1 or self.block < 1:
            raise ValueError(f"a store has at least one row and one row a block, not {self.rows} and {self.block}")
        if len(set(names)) < len(names) or DIGEST not in names:
            raise ValueError(f"the columns are to be unique and to include {DIGEST!r}: {names}")
        if clash := [name for name in names if name.split("/")[0] in SUMMARY_GROUPS]:
            raise ValueError(f"{clash} would lie among the summaries, in {SUMMARY_GROUPS}")
        if clash := sorted(OWN_ATTRIBUTES.intersection(self.attributes)):
            raise ValueError(f"the attributes {clash} are written by the store itself")
        if self.signal not in names:
            raise ValueError(f"a store of {self.kind} needs the column {self.signal!r}")

    @cached_property
    def job_id(self) -> str:
        """sha256 of the job, 64 hex digits."""
        return digest_json(self.job)

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.rows // self.block)

    @property
    def signal(self) -> str:
        """The column that a viewer plots first."""
        return SIGNALS.get(self.kind, "status")

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    def block_rows(self, block: int) -> int:
        """The number of rows in a block."""
        return min(self.block, self.rows - block * self.block)

    @cached_property
    def chunks(self) -> Mapping[str, tuple[int, ...]]:
        """Column -> chunk shape: at most 1 MiB, each side a divisor of the block's, so that no chunk is shared.

        As many whole rows as fit; a row that does not fit is cut along its first axes.
        """
        return {column.name: _chunk((min(self.block, self.rows), *column.shape), column) for column in self.columns}

    def chunk_origins(self, column: Column, block: int) -> Iterator[tuple[int, ...]]:
        """Where the chunks of a block begin, relative to the block, in the order of the file."""
        extent = (self.block_rows(block), *column.shape)
        return product(*(range(0, side, step) for side, step in zip(extent, self.chunks[column.name], strict=True)))

    def to_json(self) -> str:
        """The layout as canonical JSON: what makes a segment complete without the run that wrote it."""
        columns = [[column.name, column.dtype, list(column.shape), column.fill] for column in self.columns]
        return canonical_json({**{name: getattr(self, name) for name in _PLAIN_FIELDS}, "columns": columns})

    @classmethod
    def from_json(cls, text: str, what: str) -> StoreLayout:
        """The layout from its JSON; `what` names the text in the InputError for one that is no layout."""
        value = parse_json(text, what)
        try:
            columns = tuple(Column(name, dtype, tuple(shape), fill) for name, dtype, shape, fill in value["columns"])
            return cls(**{name: value[name] for name in _PLAIN_FIELDS}, columns=columns)
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{what} does not describe a store ({error}); remove the file and run again.") from None


_PLAIN_FIELDS = ("kind", "job", "history", "rows", "block", "curves", "attributes", "sources", "compress")


def _chunk(block: tuple[int, ...], column: Column) -> tuple[int, ...]:
    shape = list(block)
    for axis in range(len(shape)):
        rest = math.prod(shape[axis + 1 :]) * column.storage.itemsize
        shape[axis] = _largest_divisor(shape[axis], max(CHUNK_BYTES // rest, 1))
        if shape[axis] * rest <= CHUNK_BYTES:
            break
    return tuple(shape)


def _largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)
