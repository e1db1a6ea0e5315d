"""`mnist` and `fashion-mnist`: 60,000 and 10,000 grey images of 28x28 in IDX files.

Handwritten digits (Y. LeCun, C. Cortes, C. Burges, 1998), articles of clothing (H. Xiao, K. Rasul, R. Vollgraf, 2017).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from xaicli.data.access import Access, locate
from xaicli.data.arrays import Arrays, Stock, make_stock, open_arrays, stamp
from xaicli.data.idx import read_idx
from xaicli.data.splits import FullSplit, Split, full_split
from xaicli.errors import MissingError

SIDE = 28
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
FOLDERS = {
    "mnist": ("mnist", "MNIST/raw", "MNIST"),
    "fashion-mnist": ("fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
}
"""As they are usually called, with torchvision's; never a root itself, since the two data sets have the same files."""

PREFIXES: dict[FullSplit, str] = {"train": "train", "test": "t10k"}


def open_mnist(
    name: str, split: Split, shape: tuple[int, int, int] | None = None, access: Access | None = None
) -> Arrays:
    """The 60,000 training or 10,000 test images, or the fit and val parts of the former, [1, 28, 28] or resized.

    name: `mnist` or `fashion-mnist`. Raises MissingError, and InputError for files that are not of this data set.
    """
    full = full_split(split)
    folder = locate(name, FOLDERS[name], access or Access(), lambda place: _file(place, full, "images") is not None)
    images, labels = _file(folder, full, "images"), _file(folder, full, "labels")
    if images is None or labels is None:
        raise MissingError(f"'{folder / f'{PREFIXES[full]}-labels-idx1-ubyte'}' is missing; restore it.")
    stock = _stock(images, labels, CLASSES[name], stamp((images, labels)))
    return open_arrays(name, stock, split, shape, folder)


def _file(folder: Path, split: FullSplit, what: str) -> Path | None:
    """The file of images or labels, by any of its names: with or without `.gz`, its last dash also a dot."""
    dimensions = 3 if what == "images" else 1
    names = [f"{PREFIXES[split]}-{what}{mark}idx{dimensions}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


@lru_cache(maxsize=2)
def _stock(images: Path, labels: Path, classes: tuple[str, ...], _: object) -> Stock:
    pixels = read_idx(images, None, SIDE, SIDE)[:, None]
    return make_stock(pixels, read_idx(labels, None), classes, f"'{images.parent}'")
