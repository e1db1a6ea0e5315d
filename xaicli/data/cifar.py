"""`cifar10` and `cifar100`: 50,000 and 10,000 colour images of 32x32 (A. Krizhevsky, 2009).

Both of the author's versions are read, to the same data: the binary one, and the one for Python, whose files are
pickles and are therefore only interpreted (see `inert`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.access import Access, locate, read_whole
from xaicli.data.arrays import Arrays, Stock, make_stock, open_arrays, stamp
from xaicli.data.inert import as_text, bytes_of, read_pickle
from xaicli.data.splits import FullSplit, Split, full_split
from xaicli.errors import InputError, MissingError

PIXELS = 3 * 32 * 32
MOST_BYTES = 1 << 28
"""The largest file, the training images of CIFAR-100, has 155 MB."""

Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images [n, 3072], red, green and blue planes, and labels [n]."""


@dataclass(frozen=True)
class Version:
    """How one version of one data set is laid out."""

    folder: str
    files: dict[FullSplit, tuple[str, ...]]
    names: str
    """The file of class names."""
    key: str = ""
    """Under which key the pickle holds the class names; empty in the binary versions."""
    labels: str = ""
    """Under which key the pickles hold the labels."""
    ahead: int = 0
    """Bytes before the label in a binary record."""


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
VERSIONS = {
    "cifar10": (
        Version(
            "cifar-10-batches-bin",
            {"train": tuple(f"{name}.bin" for name in BATCHES), "test": ("test_batch.bin",)},
            names="batches.meta.txt",
        ),
        Version(
            "cifar-10-batches-py",
            {"train": BATCHES, "test": ("test_batch",)},
            names="batches.meta",
            key="label_names",
            labels="labels",
        ),
    ),
    "cifar100": (
        Version(
            "cifar-100-binary",
            {"train": ("train.bin",), "test": ("test.bin",)},
            names="fine_label_names.txt",
            ahead=1,  # the coarse label
        ),
        Version(
            "cifar-100-python",
            {"train": ("train",), "test": ("test",)},
            names="meta",
            key="fine_label_names",
            labels="fine_labels",
        ),
    ),
}
CLASSES = {"cifar10": 10, "cifar100": 100}


def open_cifar(
    name: str, split: Split, shape: tuple[int, int, int] | None = None, access: Access | None = None
) -> Arrays:
    """The 50,000 training or 10,000 test images, or the fit and val parts of the former, [3, 32, 32] or resized.

    name: `cifar10` or `cifar100` (its hundred fine classes). Raises MissingError, InputError for files that are not of
    this data set, and RefusedError for a pickle that asks for code.
    """
    full = full_split(split)
    versions = {version.folder: version for version in VERSIONS[name]}
    folders = [below + folder for folder in versions for below in ("", f"{name}/")]
    folder = locate(
        name, folders, access or Access(), lambda place: (place / versions[place.name].files[full][0]).is_file()
    )
    version = versions[folder.name]
    paths = tuple(folder / file for file in (*version.files[full], version.names))
    stock = _stock(paths, version.key, version.labels, version.ahead, CLASSES[name], stamp(paths))
    return open_arrays(name, stock, split, shape, folder)


@lru_cache(maxsize=2)
def _stock(paths: tuple[Path, ...], key: str, labels: str, ahead: int, classes: int, _: object) -> Stock:
    read: Callable[[Path], Part] = (lambda path: _pickle(path, labels)) if key else (lambda path: _records(path, ahead))
    parts = [read(path) for path in paths[:-1]]
    images = np.concatenate([part[0] for part in parts]).reshape(-1, 3, 32, 32)
    names = _names(paths[-1], key, classes)
    return make_stock(images, np.concatenate([part[1] for part in parts]), names, f"'{paths[0].parent}'")


def _records(path: Path, ahead: int) -> Part:
    """A binary file: records of one label (behind the coarse one in CIFAR-100) and 3,072 pixels."""
    data = read_whole(path, MOST_BYTES)
    size = ahead + 1 + PIXELS
    if len(data) == 0 or len(data) % size:
        raise InputError(
            f"'{path}' has {len(data)} bytes, not a whole number of records of {size}; fetch the data set again."
        )
    table = np.frombuffer(data, dtype=np.uint8).reshape(-1, size)
    return table[:, ahead + 1 :], table[:, ahead]


def _pickle(path: Path, labels: str) -> Part:
    batch = read_pickle(read_whole(path, MOST_BYTES), f"'{path}'")
    images, numbers = bytes_of(batch.get("data")), batch.get(labels)
    if images is None or images.ndim != 2 or images.shape[1] != PIXELS:
        raise InputError(f"'{path}' holds no images of {PIXELS} bytes under 'data'; fetch the data set again.")
    if not isinstance(numbers, list) or not all(type(number) is int and 0 <= number < 256 for number in numbers):
        raise InputError(f"'{path}' holds no labels under '{labels}'; fetch the data set again.")
    return images, np.array(numbers, dtype=np.uint8)


def _names(path: Path, key: str, count: int) -> tuple[str, ...]:
    """The class names that lie beside the images."""
    if not path.is_file():
        raise MissingError(f"the class names '{path}' are missing; restore that file.")
    data = read_whole(path, 1 << 20)
    found: Any = read_pickle(data, f"'{path}'").get(key) if key else data.split(b"\n")
    try:
        names = [as_text(name).strip() for name in found]
    except TypeError:
        names = []
    names = [name for name in names if name]
    if len(set(names)) != count or len(names) != count or not all(name.isprintable() for name in names):
        raise InputError(f"'{path}' does not hold the names of {count} classes; fetch the data set again.")
    return tuple(names)
