"""Merging: segments become the store, dataset by dataset in a fixed order; its bytes do not tell how they were cut."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import InputError
from xaicli.files.canonical import canonical_json
from xaicli.files.columns import Array
from xaicli.files.digest import content_hex
from xaicli.files.hdf5 import Output, create_hdf5, set_attributes
from xaicli.files.header import header_digest
from xaicli.files.layout import SCHEMA, StoreLayout
from xaicli.files.parts import (
    Place,
    find_segments,
    list_ranges,
    locate_blocks,
    missing_blocks,
    parts_folder,
    remove_parts,
)
from xaicli.files.segment import Segment, read_chunks
from xaicli.files.verified import VerifiedFile, open_verified

_OPEN_SEGMENTS = 128  # a process may usually have 1,024 files open

Summaries = Mapping[str, Array | str]


class MergedRows:
    """The rows of a store that is about to be finished, for computing its aggregates.

    layout: of the store. curves: name -> mean curve [L] in float64 (NaN where no row counted).
    """

    def __init__(self, layout: StoreLayout, file: Any, curves: Mapping[str, NDArray[np.float64]]) -> None:
        self.layout = layout
        self.curves = curves
        self._file = file

    def column(self, name: str) -> Array:
        """A whole column, [rows, *shape]; for the small ones."""
        values: Array = self._file[name][()]
        return values


Summarise = Callable[[MergedRows], Summaries]


def merge_parts(path: Path, layout: StoreLayout | None = None, summarise: Summarise | None = None) -> None:
    """Merge the segments in PATH.parts/ into the store PATH and remove them.

    layout: of the job; None takes the one that the segments carry. summarise: called with the merged rows; returns
    "aggregates/<name>" -> array, or text (JSON). Raises InputError, listing them, if blocks are missing or
    damaged, and OutputError if writing fails; what PATH held before is then intact, and so are the parts.
    """
    folder = parts_folder(path)
    segments = find_segments(folder, layout, own=())
    if layout is None:
        if not segments:
            raise InputError(f"'{folder}' holds no finished block; run the command that computes them first.")
        layout = segments[0].layout
    places = locate_blocks(segments)
    if missing := missing_blocks(layout, places):
        raise InputError(
            f"{len(missing)} of {layout.blocks} blocks of '{path}' are missing ({list_ranges(missing)}); "
            "run the command that computes them again."
        )
    ordered = [places[number] for number in range(layout.blocks)]
    with create_hdf5(path) as output:
        _write(output, layout, ordered, summarise)
    remove_parts(path)


def _write(output: Output, layout: StoreLayout, places: list[Place], summarise: Summarise | None) -> None:
    signal = layout.column(layout.signal)
    total = sum(place.segment.contents[place.slot] for place in places)
    set_attributes(
        output.file,
        {
            "xaicli_schema": SCHEMA,
            "kind": layout.kind,
            "job": canonical_json(layout.job),
            "job_id": layout.job_id,
            "rows": layout.rows,
            "content": content_hex(total),
            "history": canonical_json(layout.history),
            "NX_class": "NXdata",
            "signal": signal.name,
            "axes": ["index", *["."] * len(signal.shape)],
            **{name: canonical_json(layout.attributes[name]) for name in sorted(layout.attributes)},
        },
    )
    for number, source in enumerate(layout.sources):
        group = output.file.require_group(f"sources/{number}")
        set_attributes(group, {name: canonical_json(source[name]) for name in sorted(source)})
    _copy_rows(output, layout, places)
    curves = {name: _mean_curve(name, places) for name in sorted(layout.curves)}
    for name, (curve, count) in curves.items():
        output.write_array(f"curves/{name}", curve, {"rows": count})
    if summarise is not None:
        output.file.flush()
        rows = MergedRows(layout, output.file, {name: curve for name, (curve, _) in curves.items()})
        for name, values in sorted(summarise(rows).items()):
            if not name.startswith("aggregates/"):
                raise ValueError(f"a summary is named aggregates/<name>, not {name!r}")
            output.write_array(name, values)
    set_attributes(output.file, {"header": header_digest(output.objects())})


def _copy_rows(output: Output, layout: StoreLayout, places: list[Place]) -> None:
    with _OpenSegments() as opened:
        for column in layout.columns:
            target = output.create_column(column, layout.rows, layout, resizable=False)
            for number, place in enumerate(places):
                start = number * layout.block
                source = opened.objects(place.segment)[column.name]
                for chunk in read_chunks(source, place.segment, column, place.slot):
                    output.write_chunk(
                        target, (start + chunk.origin[0], *chunk.origin[1:]), chunk.data, chunk.filter_mask
                    )


def _mean_curve(name: str, places: list[Place]) -> tuple[NDArray[np.float64], int]:
    """The mean of a curve and the rows that counted: sums are added in the order of the blocks, always the same."""
    total = np.zeros_like(places[0].segment.sums[name][0])
    for place in places:
        total += place.segment.sums[name][place.slot]
    with np.errstate(invalid="ignore", divide="ignore"):
        return total[:-1] / total[-1], int(total[-1])


class _OpenSegments:
    """The segments being read, of which only so many are open at a time."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, VerifiedFile] = OrderedDict()

    def __enter__(self) -> _OpenSegments:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.file.close()

    def objects(self, segment: Segment) -> dict[str, Any]:
        """The datasets of a segment by name, valid until the next call."""
        if segment.path not in self._files:
            if len(self._files) >= _OPEN_SEGMENTS:
                self._files.popitem(last=False)[1].file.close()
            self._files[segment.path] = open_verified(segment.path)
        self._files.move_to_end(segment.path)
        return self._files[segment.path].objects
