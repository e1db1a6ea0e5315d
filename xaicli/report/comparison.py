"""One picture that compares models on the same images: what each one looks at, what fools it, what it has learned."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.errors import InputError
from xaicli.files.atomic import publish
from xaicli.files.store import Store, open_store
from xaicli.report.colours import draw_map
from xaicli.report.sheet import to_rgb

INK = "#22223b"
FOOLED = "#c1121f"
HELD = "#2a9d8f"


@dataclass(frozen=True)
class Side:
    """One model's half of the picture: attributions stores (with inputs), attacked images and generated images."""

    title: str
    maps: Sequence[Path]
    attacked: Path
    generated: Path


@dataclass(frozen=True)
class _Cell:
    image: npt.NDArray[Any]
    caption: str = ""
    colour: str = INK


def write_comparison(path: Path, sides: Sequence[Side], *, rows: int = 6) -> None:
    """Write the picture as PNG: a row per image (each of another class), the image first, then each model's cells."""
    with open_store(sides[0].maps[0]) as first:
        chosen = _one_per_class(first, rows)
        classes = [str(name) for name in first.attributes["classes"]]
        if "data" not in first.columns:
            raise InputError(f"'{first.path.name}' holds no images; explain with --save-inputs for a picture.")
        index = first.column("index")[chosen]
        labels = first.column("label")[chosen]
        images = first.read(chosen, ["data"])["data"]
    originals = [_Cell(to_rgb(image), classes[label]) for image, label in zip(images, labels, strict=True)]
    columns: list[tuple[str, list[_Cell]]] = [("image", originals)]
    starts = []
    for side in sides:
        starts.append(len(columns))
        columns += _side_columns(side, index, labels, images, classes)
    _render(path, columns, [side.title for side in sides], starts, rows=len(index))


def _one_per_class(store: Store, rows: int) -> npt.NDArray[np.int64]:
    """The first row of each class that the model gets right, as many as fit."""
    labels, right = store.column("label"), store.column("prediction").argmax(1) == store.column("label")
    found = [np.flatnonzero((labels == label) & right)[:1] for label in np.unique(labels)]
    return np.concatenate(found)[:rows].astype(np.int64)


def _side_columns(
    side: Side, index: npt.NDArray[Any], labels: npt.NDArray[Any], images: npt.NDArray[Any], classes: Sequence[str]
) -> list[tuple[str, list[_Cell]]]:
    columns = []
    for path in side.maps:
        with open_store(path) as store:
            at = np.searchsorted(store.column("index"), index)
            maps = store.read(at, ["attribution"])["attribution"].astype(np.float64)
            method = str(store.job["method"])
        drawn = [_Cell(draw_map(m, to_rgb(image))) for m, image in zip(maps, images, strict=True)]
        columns.append((method, drawn))
    with open_store(side.attacked) as store:
        held = store.read(np.searchsorted(store.column("index"), index), ["data", "prediction"])
    predicted = held["prediction"].argmax(1)
    attacked = [
        _Cell(to_rgb(image), classes[p], HELD if p == label else FOOLED)
        for image, p, label in zip(held["data"], predicted, labels, strict=True)
    ]
    columns.append(("attacked: seen as", attacked))
    with open_store(side.generated) as store:
        target = store.column("target")
        first = [int(np.flatnonzero(target == label)[0]) for label in labels]
        made = store.read(np.array(first), ["data"])["data"]
    columns.append(("class image", [_Cell(to_rgb(image)) for image in made]))
    return columns


def _render(
    path: Path, columns: Sequence[tuple[str, list[_Cell]]], titles: Sequence[str], starts: Sequence[int], *, rows: int
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    gaps = [0.35 if c in starts else 0.0 for c in range(len(columns))]
    width, height = len(columns) + sum(gaps), rows + 0.16 * rows + 0.75
    figure = Figure(figsize=(1.25 * width, 1.25 * height), facecolor="white")
    FigureCanvasAgg(figure)
    for c, (name, cells) in enumerate(columns):
        left = (c + sum(gaps[: c + 1])) / width
        for r, cell in enumerate(cells):
            bottom = 1 - (0.75 + (r + 1) * 1.16 - 0.16) / height
            axes = figure.add_axes((left + 0.02 / width, bottom, 0.96 / width, 0.96 / height))
            axes.imshow(cell.image, interpolation="nearest")
            axes.set_axis_off()
            if cell.caption:
                axes.text(0.5, -0.03, cell.caption, color=cell.colour, transform=axes.transAxes, ha="center", va="top")
        figure.text(left + 0.5 / width, 1 - 0.68 / height, name, ha="center", va="center", fontsize=9, color=INK)
    for number, (title, start) in enumerate(zip(titles, starts, strict=True)):
        end = starts[number + 1] if number + 1 < len(starts) else len(columns)
        left = (start + sum(gaps[: start + 1])) / width
        right = (end + sum(gaps[:end])) / width
        middle = (left + right) / 2
        figure.text(middle, 1 - 0.25 / height, title, ha="center", va="center", fontsize=14, weight="bold", color=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    with publish(path) as file:
        file.write(buffer.getvalue())
