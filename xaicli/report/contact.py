"""Many explainers on the same images: a contact sheet, rows are images and columns are methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from xaicli.files.store import Store
from xaicli.report.explained import Pictures
from xaicli.report.panels import Cell, draw_panels
from xaicli.report.pictures import Rows, drawn_map, explained_cell
from xaicli.report.sheet import PAPER, to_rgb
from xaicli.signatures import show

BAND = 12  # columns beside each other; further methods follow below, beside the images again


def contact_sheet(stores: Sequence[Store], images: Pictures, rows: Rows) -> Image.Image:
    """The maps of stores that hold the same rows, beside their images."""
    shown = [to_rgb(image) for image in images(rows)]
    first = stores[0].read(rows, ["target", "label"])
    beside = [explained_cell(stores[0], first, n, image) for n, image in enumerate(shown)]
    columns = []
    for store in stores:
        maps = store.read(rows, ["attribution"])["attribution"]
        columns.append([Cell(drawn_map(of, image)) for of, image in zip(maps, shown, strict=True)])
    names = _names(stores)
    bands = []
    for start in range(0, len(stores), BAND):
        here = slice(start, start + BAND)
        cells = [[cell, *(column[n] for column in columns[here])] for n, cell in enumerate(beside)]
        bands.append(draw_panels(["image", *names[here]], cells))
    return stacked(bands)


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other."""
    sheet = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    for picture, top in zip(pictures, np.cumsum([0, *(p.height for p in pictures)]).tolist(), strict=False):
        sheet.paste(picture, (0, top))
    return sheet


def same_rows(stores: Sequence[Store]) -> list[list[Store]]:
    """The stores in groups of one checkpoint and the same samples, in the order in which they come."""
    groups: dict[tuple[str, bytes, bytes], list[Store]] = {}
    for store in stores:
        key = (
            str(store.job["parents"]["checkpoint"]),
            store.column("index").tobytes(),
            store.column("sample").tobytes(),
        )
        groups.setdefault(key, []).append(store)
    return list(groups.values())


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
