"""Which image files a folder of class folders holds, in which split and class; nothing outside the folder counts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xaicli.data.dataset import UNKNOWN
from xaicli.data.images import SUFFIXES, looks_like_image
from xaicli.data.splits import FullSplit, hold_out
from xaicli.errors import InputError, MissingError, RefusedError

SPLIT_FOLDERS: dict[FullSplit, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "valid", "validation")}
"""The names by which a folder of class folders is a split; the first that is there counts."""

TEST_TENTHS = 2
"""Of a folder that its owner has not cut, a fifth of each class is the test split."""


@dataclass(frozen=True)
class File:
    """One image: its path below the folder, its class and its size in bytes."""

    name: str
    label: int
    size: int


@dataclass(frozen=True)
class Listing:
    """The classes of a folder, and the files of the splits that it has."""

    classes: tuple[str, ...]
    splits: dict[FullSplit, tuple[File, ...]]


def list_images(root: Path) -> Listing:
    """Everything below ROOT/train/CLASS/ and ROOT/test/CLASS/ (or val), or below ROOT/CLASS/ without such folders.

    Classes, and files within a class, are in natural order (`class2` before `class10`); hidden ones are left out. A
    link may point to a file within the folder; any other is refused, because following it would read what is not part
    of the data, and passing over it would change the data silently.
    """
    try:
        cut = {split: folder for split, names in SPLIT_FOLDERS.items() if (folder := _split_folder(root, names))}
        if not cut:
            classes = class_folders(root)
            files = files_below(root, root, classes)
            labels = np.array([file.label for file in files], dtype=np.int64)
            train, test = hold_out(labels, tenths=TEST_TENTHS)
            parts: dict[FullSplit, tuple[File, ...]] = {
                "train": tuple(files[row] for row in train),
                "test": tuple(files[row] for row in test),
            }
            return Listing(classes, parts)
        classes = class_folders(next(iter(cut.values())))
        for folder in cut.values():
            for name in class_folders(folder):
                if name not in classes:
                    raise InputError(
                        f"'{folder / name}' is a class that train lacks; give all splits the same classes."
                    )
        return Listing(classes, {split: tuple(files_below(root, folder, classes)) for split, folder in cut.items()})
    except OSError as error:
        raise MissingError(f"'{error.filename}' cannot be read ({error.strerror}); check its permissions.") from None


def class_folders(folder: Path) -> tuple[str, ...]:
    """The names of the folders in a folder, in natural order; InputError if there are none."""
    names = tuple(entry.name for entry in _entries(folder, folder) if entry.is_dir())
    if not names:
        raise InputError(f"'{folder}' has no folders in it; put the images of each class into a folder of its own.")
    if len(names) >= UNKNOWN:
        raise InputError(f"'{folder}' has {len(names)} class folders; name a folder with fewer than {UNKNOWN}.")
    return names


def files_below(root: Path, folder: Path, classes: tuple[str, ...]) -> list[File]:
    """The images in the folders of these classes, named by their paths below `root`; a class may lack its folder."""
    files: list[File] = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue
        found = [
            File(str(Path(entry.path).relative_to(root)), label, entry.stat().st_size)
            for entry in _below(folder / name, root)
            if _is_image(entry)
        ]
        if not found:
            raise InputError(f"the class folder '{folder / name}' holds no images; fill it or remove it.")
        files += found
    return files


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sorting key that compares digits as numbers and ignores case: `class2` before `Class10`."""
    parts = re.split(r"([0-9]+)", name)
    spelled = [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part]
    return [*spelled, (-1, 0, name)]


def printable(name: str) -> str:
    """The name in characters that every file can store, also where the file system allows others."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _split_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these that is a folder of folders; with images directly in it, it is a class of that name."""
    for name in names:
        entries = _entries(root / name, root) if (root / name).is_dir() else []
        if any(entry.is_dir() for entry in entries) and not any(_is_image(entry) for entry in entries):
            return root / name
    return None


def _below(folder: Path, root: Path) -> Iterator[os.DirEntry[str]]:
    """All entries below a folder: those of a folder before those of the folders in it."""
    waiting = [folder]
    while waiting:
        entries = _entries(waiting.pop(), root)
        yield from entries
        waiting += [Path(entry.path) for entry in reversed(entries) if entry.is_dir()]


def _entries(folder: Path, root: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda e: natural(e.name))
    for entry in entries:
        if entry.is_symlink():
            target = Path(entry.path).resolve()
            if not (target.is_file() and target.is_relative_to(root.resolve())):
                raise RefusedError(
                    f"'{entry.path}' is a link that does not point to a file within '{root}'; "
                    "replace it by a copy or a hard link, or remove it."
                )
    return entries


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.is_file() and (entry.name.lower().endswith(SUFFIXES) or looks_like_image(Path(entry.path)))
