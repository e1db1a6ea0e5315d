"""What people look at in a store: maps with their experts, and images with the training images behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xaicli.data.dataset import Dataset
from xaicli.files.store import Store
from xaicli.report.colours import draw_map
from xaicli.report.explained import Pictures
from xaicli.report.panels import Cell, draw_panels
from xaicli.report.sheet import INK, MISS, to_rgb

Rows = npt.NDArray[np.int64]


def chosen_rows(store: Store, most: int) -> Rows:
    """The first row of each explained class, then the next of each, in the order of the rows."""
    target = store.column("target")
    turn = np.zeros(len(target), dtype=np.int64)
    for label in np.unique(target):
        mine = target == label
        turn[mine] = np.arange(mine.sum())
    return np.sort(np.lexsort((np.arange(len(target)), turn))[:most])


def maps_picture(store: Store, images: Pictures, rows: Rows) -> Image.Image:
    """Images with their maps; below the map of an influence store, the units it comes from, strongest first."""
    held = store.read(rows, ["attribution", "target", "label", *(["experts"] if "experts" in store.columns else [])])
    cells = []
    for n, image in enumerate(images(rows)):
        shown = to_rgb(image)
        drawn = drawn_map(held["attribution"][n], shown)
        units = ", ".join(str(unit) for unit in held["experts"][n]) if "experts" in held else ""
        cells.append([explained_cell(store, held, n, shown), Cell(drawn, units)])
    return draw_panels(["image", "units" if "experts" in held else str(store.job["method"])], cells)


def neighbours_picture(store: Store, images: Pictures, training: Dataset, rows: Rows) -> Image.Image:
    """Each image with the training images that speak for its class and against it, their classes and values."""
    sides = ("exciting", "inhibiting")
    names = [f"{side}{part}" for side in sides for part in ("", "_value", "_label")]
    held = store.read(rows, ["target", "label", *names])
    count = held["exciting"].shape[1]
    cells = []
    for n, image in enumerate(images(rows)):
        row = [explained_cell(store, held, n, to_rgb(image))]
        for side in sides:
            where = np.searchsorted(training.index, held[side][n].astype(np.int64))
            for i, point in enumerate(training.read(where).pixels):
                label, value = held[f"{side}_label"][n, i], held[f"{side}_value"][n, i]
                row.append(Cell(to_rgb(point), f"{class_name(store, label)}  {value:+.3g}"))
        cells.append(row)
    return draw_panels(["image", *(f"{side} {i + 1}" for side in sides for i in range(count))], cells)


def drawn_map(attribution: npt.NDArray[Any], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A map [C, H, W] beside its image in colours, uint8 [H, W, 3]; what is not finite counts as zero."""
    return (draw_map(np.nan_to_num(attribution.astype(np.float64)), image) * 255).round().astype(np.uint8)


def class_name(store: Store, label: int) -> str:
    """A class by its name."""
    classes: Sequence[str] = store.attributes["classes"]
    return str(classes[label]) if label < len(classes) else "unknown"


def explained_cell(store: Store, held: dict[str, Any], n: int, shown: npt.NDArray[np.uint8]) -> Cell:
    """The image with the class that is explained, red where it is not the true one."""
    target, label = int(held["target"][n]), int(held["label"][n])
    wrong = label < len(store.attributes["classes"]) and target != label
    return Cell(shown, class_name(store, target), MISS if wrong else INK)
