"""Data sets of image files, read when they are asked for: what `folder:`, `flowers102` and `imagenet` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xaicli.data.access import Access
from xaicli.data.dataset import Dataset, Images, Positions
from xaicli.data.images import read_images
from xaicli.data.listing import File, printable
from xaicli.data.resize import POLICY
from xaicli.data.splits import Split, full_split, rows_of
from xaicli.errors import InputError
from xaicli.files.canonical import digest_json


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageFiles(Dataset):
    """The images of one split, cut and resized about their centre (see `resize_to`)."""

    root: Path
    files: tuple[File, ...]
    threads: int

    def key(self, position: int) -> str:
        """The file's path below the folder."""
        return printable(self.files[position].name)

    def read(self, positions: Positions) -> Images:
        """Pixels of these rows; a file that cannot be read is marked."""
        paths = [self.root / self.files[int(position)].name for position in positions]
        return read_images(paths, *self.shape, threads=self.threads)


def open_files(
    name: str,
    root: Path,
    classes: tuple[str, ...],
    files: Sequence[File],
    split: Split,
    shape: tuple[int, int, int],
    access: Access,
    *,
    path: Path,
    identity: tuple[str, ...] | None = None,
) -> ImageFiles:
    """One split of the full split that consists of these files below `root`.

    shape: channels (1 or 3, else InputError), height and width that every image gets. path: where a record says that
    the data lies. identity: of the classes, where their names may change.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise InputError(f"the images of '{name}' are read with 1 or 3 channels, not {channels}; use another model.")
    labels = np.array([file.label for file in files], dtype=np.int64)
    index = rows_of(split, labels)
    # Names, classes and sizes in bytes are quickly had; the digest of each row guards its pixels.
    content = [[printable(file.name), file.label, file.size] for file in files]
    return ImageFiles(
        name=name,
        split=split,
        classes=classes,
        channels=channels,
        height=height,
        width=width,
        labels=labels[index],
        index=index,
        digest=digest_json([POLICY, full_split(split), identity or classes, content]),
        path=path,
        root=root,
        files=tuple(files[row] for row in index),
        threads=access.threads,
    )
