"""`folder:PATH`: your own images, one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xaicli.data.access import Access
from xaicli.data.image_files import ImageFiles, open_files
from xaicli.data.images import read_header
from xaicli.data.listing import SPLIT_FOLDERS, File, list_images, printable
from xaicli.data.splits import Split, full_split
from xaicli.errors import InputError, MissingError

SAMPLED = 64
"""Files looked at to tell whether all are grey."""


def open_folder(
    path: Path, split: Split, shape: tuple[int, int, int] | None = None, access: Access | None = None
) -> ImageFiles:
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
    # The shape is that of the whole folder, so that a model trained on one split fits the other.
    shape = shape or _common_shape(root, [file for part in listing.splits.values() for file in part])
    name = f"folder:{printable(root.name)}"
    classes = tuple(map(printable, listing.classes))
    return open_files(name, root, classes, files, split, shape, access or Access(), path=path)


def _common_shape(root: Path, files: Sequence[File]) -> tuple[int, int, int]:
    sampled = (read_header(root / file.name) for file in files[:: -(-len(files) // SAMPLED)])
    headers = [header for header in sampled if header is not None]
    if not headers:
        raise InputError(f"no image in '{root}' can be read; the formats are PNG, JPEG, WEBP, BMP and TIFF.")
    return 1 if all(header.grey for header in headers) else 3, headers[0].height, headers[0].width
