"""Stores in other programs' formats: numpy's archive, a table, a ViRelAy project."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.files.atomic import publish
from xaicli.files.columns import STATUS_NAMES, UNKNOWN_LABEL, Array
from xaicli.files.hdf5 import create_hdf5
from xaicli.files.store import Store

BATCH = 1024
Pixels = Callable[[slice], NDArray[np.uint8]]


def export_npz(store: Store, path: Path) -> None:
    """Every column, curve and aggregate as an array of that name; texts as numpy strings. Read with numpy.load."""
    with publish(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in store.columns:
            _add(archive, name, store[name])
        for name, curve in store.curves().items():
            _add(archive, f"curves/{name}", curve)
        for name, value in store.aggregates().items():
            _add(archive, f"aggregates/{name}", np.asarray(value))


def export_csv(store: Store, path: Path) -> None:
    """One line a row with every column that is one value, statuses by name; arrays are left out."""
    names = [name for name in store.columns if len(store.shape(name)) == 1]
    statuses = {number: name for name, number in STATUS_NAMES.items()}
    with publish(path) as file:
        file.write(_lines([names]))
        for start in range(0, len(store), BATCH):
            rows = store.read(slice(start, start + BATCH), names)
            columns = [_cells(name, rows[name], statuses) for name in names]
            file.write(_lines(zip(*columns, strict=True)))


def export_virelay(store: Store, folder: Path, pixels: Pixels) -> Path:
    """A folder that ViRelAy opens: `project.yaml`, `labels.json`, and the images in `dataset.h5`; returns the project.

    store: of attributions, which is used where it lies. pixels: the images of some of its rows, uint8 [n, C, H, W].
    ViRelAy looks images up by the row of the data set, so `dataset.h5` is as long as the largest of them; rows that
    were not explained take no space.
    """
    classes: Sequence[str] = store.attributes["classes"]
    labels = [{"index": number, "word_net_id": name, "name": name} for number, name in enumerate(classes)]
    labels.append({"index": UNKNOWN_LABEL, "word_net_id": "unknown", "name": "unknown"})
    _write_text(folder / "labels.json", json.dumps(labels, indent=1, ensure_ascii=False) + "\n")
    _write_images(store, folder / "dataset.h5", pixels)
    data = store.job["parents"].get("data") or {}
    project = {
        "name": store.path.stem,
        "model": str(store.job["parents"]["checkpoint"])[:12],
        "label_map": "labels.json",
        "dataset": {"name": str(data.get("name", "images")), "type": "hdf5", "path": "dataset.h5"},
        "attributions": {
            "attribution_method": str(store.job["method"]),
            "attribution_strategy": "true_label" if store.job["target"] == "label" else "predicted_label",
            "sources": [os.path.relpath(store.path.resolve(), folder.resolve())],
        },
    }
    _write_text(folder / "project.yaml", _yaml({"project": project}))
    return folder / "project.yaml"


def _write_images(store: Store, path: Path, pixels: Pixels) -> None:
    index, label = store.column("index").astype(np.int64), store.column("label")
    length = int(index.max()) + 1
    shape = pixels(slice(0, 1)).shape[1:]
    labels = np.full(length, UNKNOWN_LABEL, "<u2")
    labels[index] = label
    with create_hdf5(path) as output:
        data = output.file.create_dataset("data", (length, *shape), "u1", chunks=(1, *shape))
        for start in range(0, len(store), BATCH):
            rows = slice(start, start + BATCH)
            for number, image in zip(index[rows], pixels(rows), strict=True):
                output.write_chunk(data, (int(number), *[0] * len(shape)), np.ascontiguousarray(image[None]))
        output.file.create_dataset("label", data=labels)
        output.check()


def _add(archive: zipfile.ZipFile, name: str, values: Array) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, values, allow_pickle=False)


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _cells(name: str, values: Array, statuses: Mapping[int, str]) -> list[Any]:
    if name == "status":
        return [statuses.get(int(value), str(value)) for value in values]
    if values.dtype == np.float32:  # the shortest text that is this float32, not its double
        return [str(value) for value in values]
    return list(values.tolist())


def _write_text(path: Path, text: str) -> None:
    with publish(path) as file:
        file.write(text.encode())


def _yaml(value: Any, depth: int = 0) -> str:
    """A mapping of plain values as YAML; scalars and lists are JSON, which is YAML too."""
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            lines.append(f"{'  ' * depth}{key}:\n{_yaml(item, depth + 1)}")
        else:
            lines.append(f"{'  ' * depth}{key}: {json.dumps(item, ensure_ascii=False)}\n")
    return "".join(lines)
