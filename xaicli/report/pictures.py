"""What people look at in a store: maps with their experts, and images with the training images behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from xaicli.data.dataset import Dataset
from xaicli.explain.quantity import asks_refusal
from xaicli.files.store import Store
from xaicli.report.colours import draw_map
from xaicli.report.explained import Pictures
from xaicli.report.panels import Cell, draw_panels
from xaicli.report.sheet import INK, MISS, to_rgb
from xaicli.run.rejection import UNKNOWN

Rows = npt.NDArray[np.int64]
MAPS = ("attribution", "deviation")
OPEN_SET = "open-set"  # whose maps of refused rows are of no class
SAID = ("target", "label", "prediction", "refused")


def chosen_rows(store: Store, most: int, by: str = "target") -> Rows:
    """The first row of each explained class, then the next of each, in the order of the rows; by: another class.

    Where some rows are refused, as many of them as of the others, if there are as many.
    """
    target = store.column(by)
    turn = np.zeros(len(target), dtype=np.int64)
    for label in np.unique(target):
        mine = target == label
        turn[mine] = np.arange(mine.sum())
    order = np.lexsort((np.arange(len(target)), turn))
    if "refused" in store.columns:
        refused = store.column("refused")[order].astype(bool)
        place = np.where(refused, np.cumsum(refused), np.cumsum(~refused))  # among its like
        order = order[np.argsort(place, kind="stable")]
    return np.sort(order[:most])


def maps_picture(store: Store, images: Pictures, rows: Rows) -> Image.Image:
    """Images with their maps; below the map of an influence store, the units it comes from, strongest first."""
    held = read_said(store, rows, [*MAPS, "experts"])
    shown = [to_rgb(image) for image in images(rows)]
    maps = {name: drawn_maps(held[name], shown) for name in MAPS if name in held}
    cells = []
    for n, image in enumerate(shown):
        units = ", ".join(str(unit) for unit in held["experts"][n]) if "experts" in held else ""
        cells.append([sample_cell(store, held, n, image), *(Cell(drawn[n], units) for drawn in maps.values())])
    return draw_panels(["image", "units" if "experts" in held else str(store.job["method"]), *list(maps)[1:]], cells)


def neighbours_picture(store: Store, images: Pictures, training: Dataset, rows: Rows) -> Image.Image:
    """Each image with the training images that speak for its class and against it, their classes and values."""
    sides = ("exciting", "inhibiting")
    names = [f"{side}{part}" for side in sides for part in ("", "_value", "_label")]
    held = read_said(store, rows, names)
    count = held["exciting"].shape[1]
    cells = []
    for n, image in enumerate(images(rows)):
        row = [sample_cell(store, held, n, to_rgb(image))]
        for side in sides:
            where = np.searchsorted(training.index, held[side][n].astype(np.int64))
            for i, point in enumerate(training.read(where).pixels):
                label, value = held[f"{side}_label"][n, i], held[f"{side}_value"][n, i]
                row.append(Cell(to_rgb(point), f"{class_name(store, label)}  {value:+.3g}"))
        cells.append(row)
    return draw_panels(["image", *(f"{side} {i + 1}" for side in sides for i in range(count))], cells)


def read_said(store: Store, rows: Rows, more: Sequence[str]) -> dict[str, Any]:
    """What is explained of these rows and what the model says of them, with more columns as far as there are."""
    return store.read(rows, [name for name in (*SAID, *more) if name in store.columns])


def drawn_maps(maps: npt.NDArray[Any], images: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    """Maps [n, C, H, W] beside their images."""
    return [drawn_map(one, image) for one, image in zip(maps, images, strict=True)]


def drawn_map(attribution: npt.NDArray[Any], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A map [C, H, W] beside its image in colours, uint8 [H, W, 3]; what is not finite counts as zero."""
    return (draw_map(np.nan_to_num(attribution.astype(np.float64)), image) * 255).round().astype(np.uint8)


def class_name(store: Store, label: int) -> str:
    """A class by its name."""
    classes: Sequence[str] = store.attributes["classes"]
    return str(classes[label]) if label < len(classes) else "unknown"


def sample_cell(store: Store, held: dict[str, Any], n: int, shown: npt.NDArray[np.uint8]) -> Cell:
    """The image with the class that is explained; of a model that may refuse it, with what it says instead."""
    return answered_cell(store, held, n, shown) if "refused" in held else explained_cell(store, held, n, shown)


def explained_cell(store: Store, held: dict[str, Any], n: int, shown: npt.NDArray[np.uint8]) -> Cell:
    """A picture with the class that is explained, red where it is not the true one."""
    if store.job["method"] == OPEN_SET and held["refused"][n]:
        return answered_cell(store, held, n, shown)
    target, label = int(held["target"][n]), int(held["label"][n])
    wrong = label < len(_own_classes(store)) and target != label
    return Cell(shown, class_name(store, target), MISS if wrong and not _of_refusal(store) else INK)


def answered_cell(store: Store, held: dict[str, Any], n: int, shown: npt.NDArray[np.uint8]) -> Cell:
    """A picture with the class predicted, or UNKNOWN; red where that is wrong, as far as it is known what is right."""
    label, classes = int(held["label"][n]), _own_classes(store)
    if held["refused"][n]:
        return Cell(shown, UNKNOWN, MISS if label < len(classes) else INK)
    predicted = int(held["prediction"][n, : len(classes)].argmax())
    stranger = label >= len(classes) and "known" in store.attributes
    wrong = stranger or (label < len(classes) and predicted != label)
    return Cell(shown, classes[predicted], MISS if wrong else INK)


def _own_classes(store: Store) -> list[str]:
    """The classes that the model knows."""
    classes = [str(name) for name in store.attributes["classes"]]
    return classes[:-1] if _of_refusal(store) else classes


def _of_refusal(store: Store) -> bool:
    """Whether the maps explain the detector's score, the output behind the classes' own."""
    return asks_refusal(str(store.job.get("target")), store.attributes["classes"])
