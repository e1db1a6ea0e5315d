"""Data sets that fit into memory as one array of bytes: what MNIST and CIFAR have in common."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Dataset, Images, Positions, Rows
from xaicli.data.resize import resize_all
from xaicli.data.splits import Split, rows_of
from xaicli.errors import InputError


@dataclass(frozen=True, eq=False)
class Stock:
    """A full split as its files hold it: uint8 images [N, C, H, W], labels [N], class names."""

    images: NDArray[np.uint8]
    labels: Rows
    classes: tuple[str, ...]
    digest: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrays(Dataset):
    """One split of a stock, which all its splits share; rows are resized as they are read."""

    stock: Stock

    def read(self, positions: Positions) -> Images:
        """Pixels of these rows; all are readable."""
        rows = self.index[np.asarray(positions, dtype=np.int64)]
        pixels = resize_all(self.stock.images[rows], self.height, self.width)
        return Images(pixels, np.ones(len(pixels), dtype=bool))


def make_stock(images: NDArray[np.uint8], labels: NDArray[np.uint8], classes: tuple[str, ...], what: str) -> Stock:
    """Check that images and labels belong together, and sum them up; what: the files' name for errors (65)."""
    if len(images) != len(labels) or len(images) == 0:
        raise InputError(f"{what} holds {len(images)} images and {len(labels)} labels; fetch the data set again.")
    if labels.max() >= len(classes):
        raise InputError(
            f"{what} holds the label {labels.max()}, but there are {len(classes)} classes; fetch the data set again."
        )
    # The same images and labels have the same digest, whatever files they come from.
    digest = hashlib.sha256(f"{list(images.shape)}{list(classes)}".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels).data)
    images.flags.writeable = False
    return Stock(images, labels.astype(np.int64), classes, digest.hexdigest())


def open_arrays(name: str, stock: Stock, split: Split, shape: tuple[int, int, int] | None, path: Path) -> Arrays:
    """One split of a stock at the size asked for; other channels than its own are an InputError."""
    own = stock.images.shape[1:]
    channels, height, width = shape or own
    if channels != own[0]:
        raise InputError(
            f"the images of {name} have {own[0]} channel{'s' if own[0] > 1 else ''}, not the {channels} asked for; "
            f"take a model of {own[0]}."
        )
    index = rows_of(split, stock.labels)
    return Arrays(
        name=name,
        split=split,
        classes=stock.classes,
        channels=channels,
        height=height,
        width=width,
        labels=stock.labels[index],
        index=index,
        digest=stock.digest,
        path=path,
        stock=stock,
    )


def stamp(paths: tuple[Path, ...]) -> tuple[tuple[int, int], ...]:
    """What changes when files do: times and sizes, so that a stock read once can be used again."""
    found = [path.stat() for path in paths if path.exists()]
    return tuple((status.st_mtime_ns, status.st_size) for status in found)
