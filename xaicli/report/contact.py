"""Many maps of the same images: a contact sheet, rows are images, columns are methods of one model or several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from xaicli.files.store import Store
from xaicli.report.explained import Pictures
from xaicli.report.panels import Cell, draw_panels
from xaicli.report.pictures import MAPS, Rows, class_name, drawn_maps, explained_cell, read_said, sample_cell
from xaicli.report.sheet import PAPER, to_rgb
from xaicli.signatures import show

JOB = re.compile(r"-[0-9a-f]{6}$")  # what a default name ends in
BAND = 12  # columns beside each other; further methods follow below, beside the images again


def contact_sheet(stores: Sequence[Store], images: Pictures, rows: Rows) -> Image.Image:
    """The maps of stores that hold the same rows, beside their images; means over draws with their deviation.

    The explained class stands below the image; of several checkpoints below each map, and below the image the true one.
    Of one that may refuse a row, what it says stands there instead, and below its maps what they explain.
    """
    shown = [to_rgb(image) for image in images(rows)]
    several = len(checkpoints_of(stores)) > 1
    first = read_said(stores[0], rows, ())
    if several:
        beside = [Cell(image, class_name(stores[0], first["label"][n])) for n, image in enumerate(shown)]
    else:
        beside = [sample_cell(stores[0], first, n, image) for n, image in enumerate(shown)]
    names = _files(stores) if several else _names(stores)
    columns = [
        column
        for store, name in zip(stores, names, strict=True)
        for column in _columns(store, name, shown, rows, several=several)
    ]
    bands = []
    for start in range(0, len(columns), BAND):
        here = columns[start : start + BAND]
        cells = [[cell, *(column[n] for _, column in here)] for n, cell in enumerate(beside)]
        bands.append(draw_panels(["image", *(name for name, _ in here)], cells))
    return stacked(bands)


def _columns(
    store: Store, name: str, shown: Sequence[npt.NDArray[np.uint8]], rows: Rows, *, several: bool
) -> Iterator[tuple[str, list[Cell]]]:
    """A store's maps, and their deviation where they are means; several: models, so that each says what it sees."""
    held = read_said(store, rows, MAPS)
    cell = sample_cell if several and store.job.get("target") == "predicted" else explained_cell
    said, maps = several or "refused" in held, drawn_maps(held["attribution"], shown)
    yield name, [cell(store, held, n, one) if said else Cell(one) for n, one in enumerate(maps)]
    if "deviation" in held:
        yield "deviation", [Cell(one) for one in drawn_maps(held["deviation"], shown)]


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    for picture, top in zip(pictures, np.cumsum([0, *(p.height for p in pictures)]).tolist(), strict=False):
        sheet.paste(picture, (0, top))
    return sheet


def same_rows(stores: Sequence[Store]) -> list[list[Store]]:
    """The stores in groups of the same samples, in the order in which they come."""
    groups: dict[tuple[bytes, bytes], list[Store]] = {}
    for store in stores:
        key = store.column("index").tobytes(), store.column("sample").tobytes()
        groups.setdefault(key, []).append(store)
    return list(groups.values())


def checkpoints_of(stores: Sequence[Store]) -> list[str]:
    """The ids of the checkpoints that are explained, each once, in the order in which they come."""
    return list(dict.fromkeys(str(store.job["parents"]["checkpoint"]) for store in stores))


def _files(stores: Sequence[Store]) -> list[str]:
    """The files' names, without the ends that tell jobs apart where nothing else is lost with them."""
    stems = [store.path.stem for store in stores]
    plain = [JOB.sub("", stem) for stem in stems]
    return plain if len(set(plain)) == len(plain) else stems


def _names(stores: Sequence[Store]) -> list[str]:
    """Methods by name; those that come twice with the options in which they differ."""
    methods = [str(store.job["method"]) for store in stores]
    names = []
    for store, method in zip(stores, methods, strict=True):
        others = [other.job["options"] for other, name in zip(stores, methods, strict=True) if name == method]
        differing = [key for key, value in store.job["options"].items() if any(o.get(key) != value for o in others)]
        said = ",".join(f"{key}={show(store.job['options'][key])}" for key in differing)
        names.append(f"{said} {method}" if said else method)
    return names
