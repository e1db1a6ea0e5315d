"""`folder:PATH`: your own images, one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xaicli.data.dataset import Dataset, Images, Positions
from xaicli.data.images import read_header, read_image
from xaicli.data.listing import SPLIT_FOLDERS, File, list_images, printable
from xaicli.data.splits import FullSplit, Split, full_split, rows_of
from xaicli.errors import InputError, MissingError
from xaicli.files.canonical import digest_json

SAMPLED = 64
"""Files looked at to tell whether all are grey."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Folder(Dataset):
    """The images of one split, each read when it is asked for."""

    root: Path
    files: tuple[File, ...]

    def key(self, position: int) -> str:
        """The file's path below the folder."""
        return printable(self.files[position].name)

    def read(self, positions: Positions) -> Images:
        """Pixels of these rows; a file that cannot be read is marked."""
        pixels = np.zeros((len(positions), *self.shape), dtype=np.uint8)
        readable = np.zeros(len(positions), dtype=bool)
        for row, position in enumerate(positions):
            image = read_image(self.root / self.files[int(position)].name, *self.shape)
            if image is not None:
                pixels[row], readable[row] = image, True
        return Images(pixels, readable)


def open_folder(path: Path, split: Split, shape: tuple[int, int, int] | None = None) -> Folder:
    """The images below PATH/CLASS/, or below PATH/train/CLASS/ and PATH/test/CLASS/ (or val) if these exist.

    Without such a cut, a stratified fifth is the test split. Without a shape, images get the size of the first one, and
    one channel if all that are sampled are grey, else three.
    """
    if not path.is_dir():
        raise MissingError(f"the folder '{path}' does not exist; check the path after 'folder:'.")
    root = path.resolve()
    listing = list_images(root)
    full = full_split(split)
    if full not in listing.splits:
        other = next(iter(listing.splits))
        raise InputError(
            f"'{path}' has no {full} images, only {SPLIT_FOLDERS[other][0]}; "
            f"add a folder '{SPLIT_FOLDERS[full][0]}', or name the one that is there to have a fifth of it held out."
        )
    files = listing.splits[full]
    if not files:
        raise InputError(f"'{path}' has too few images to hold a fifth of them out as test; give each class five.")
    labels = np.array([file.label for file in files], dtype=np.int64)
    index = rows_of(split, labels)
    # The shape is that of the whole folder, so that a model trained on one split fits the other.
    channels, height, width = shape or _common_shape(root, [file for part in listing.splits.values() for file in part])
    if channels not in (1, 3):
        raise InputError(f"the images of '{path}' are read with 1 or 3 channels, not {channels}; use another model.")
    return Folder(
        name=f"folder:{printable(root.name)}",
        split=split,
        classes=tuple(map(printable, listing.classes)),
        channels=channels,
        height=height,
        width=width,
        labels=labels[index],
        index=index,
        digest=_digest(full, tuple(map(printable, listing.classes)), files),
        path=path,
        root=root,
        files=tuple(files[row] for row in index),
    )


def _common_shape(root: Path, files: Sequence[File]) -> tuple[int, int, int]:
    sampled = (read_header(root / file.name) for file in files[:: -(-len(files) // SAMPLED)])
    headers = [header for header in sampled if header is not None]
    if not headers:
        raise InputError(f"no image in '{root}' can be read; the formats are PNG, JPEG, WEBP, BMP and TIFF.")
    return 1 if all(header.grey for header in headers) else 3, headers[0].height, headers[0].width


def _digest(split: FullSplit, classes: tuple[str, ...], files: Sequence[File]) -> str:
    """Of names, classes and sizes in bytes; the digest of each row guards its pixels."""
    return digest_json([split, classes, [[printable(file.name), file.label, file.size] for file in files]])
