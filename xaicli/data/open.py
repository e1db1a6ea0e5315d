"""Data by name: `digits`, `shapes:val`, `folder:PATH:train`."""

from __future__ import annotations

from pathlib import Path

from xaicli.data.dataset import Dataset
from xaicli.data.splits import SPLITS, known_split
from xaicli.errors import UsageError, nearest

SOURCES = {
    "digits": "scikit-learn's 1,797 real handwritten digits, 1x32x32; needs no file",
    "shapes": "ten classes of drawn objects with masks, 3x32x32 or any other size; needs no file",
    "folder:PATH": "your own images, one folder per class",
}


def list_sources() -> list[tuple[str, str]]:
    """Names and one-line descriptions, for help texts."""
    return list(SOURCES.items())


def open_data(
    spec: str, *, split: str | None = None, shape: tuple[int, int, int] | None = None, root: Path | None = None
) -> Dataset:
    """Open a data set.

    spec: NAME[:split]. split: instead of the suffix (default `test`). shape: channels, height and width that the images
    are brought to. root: where folders without an absolute path are looked for first. Raises UsageError for an unknown
    name or split, MissingError for a folder that is not there, InputError for images of other channels.
    """
    name, known, tail = spec.partition(":")
    if name == "folder" and known:
        folder, _, last = tail.rpartition(":")
        path, suffix = (folder, last) if folder and last in SPLITS else (tail, "")
    else:
        path, suffix = "", tail
    chosen = known_split(split or suffix or "test")
    if name == "digits":
        from xaicli.data.digits import open_digits

        return open_digits(chosen, shape)
    if name == "shapes":
        from xaicli.data.shapes import open_shapes

        return open_shapes(chosen, shape)
    if path:
        from xaicli.data.folder import open_folder

        below = root / path if root is not None else None
        return open_folder(below if below is not None and below.is_dir() else Path(path), chosen, shape)
    names = list(SOURCES)
    raise UsageError(
        f"there is no data '{spec}'.{nearest(name, names)} Use {', '.join(names)}, with a split as suffix."
    )
