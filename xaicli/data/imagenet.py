"""`imagenet`: photographs in one folder per synset, unpacked or as Kaggle packs them (O. Russakovsky et al., 2015)."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from pathlib import Path

from xaicli.data.access import Access, locate, read_whole
from xaicli.data.image_files import ImageFiles, open_files
from xaicli.data.listing import File, class_folders, files_below
from xaicli.data.splits import FullSplit, Split, full_split
from xaicli.errors import InputError, MissingError

SHAPE = (3, 224, 224)
FOLDERS = ("imagenet", "ImageNet", "ILSVRC2012", "")
"""The last is the root itself: folders of synsets are not taken for anything else."""

TREES = ("", "ILSVRC/Data/CLS-LOC")
PARTS: dict[FullSplit, str] = {"train": "train", "test": "val"}
"""The 50,000 validation images are `test`, because the true classes of the test images are not public."""

SOLUTION = "LOC_val_solution.csv"
MAPPING = "LOC_synset_mapping.txt"
MOST_BYTES = 1 << 25
"""Of either table; they have 5 MB at most."""

SYNSET = re.compile(r"n[0-9]{8}")
IMAGE = re.compile(r"ILSVRC2012_val_[0-9]{8}")


def open_imagenet(split: Split, shape: tuple[int, int, int] | None = None, access: Access | None = None) -> ImageFiles:
    """The images below train/SYNSET/ or, for `test`, below val/SYNSET/; these are cut and resized about their centre.

    Images directly in val/ need Kaggle's `LOC_val_solution.csv` beside it. Classes are the synset folders in order,
    under their first names where `LOC_synset_mapping.txt` tells them. [3, 224, 224] unless another size is asked for.
    Only the split asked for is listed. Raises MissingError, InputError, and RefusedError for links that lead out.
    """
    access = access or Access()
    full = full_split(split)
    base = locate("imagenet", FOLDERS, access, lambda place: _tree(place, full) is not None)
    root = _tree(base, full) or base
    synsets = _synsets(root, base)
    folder = root / PARTS[full]
    sorted_out = _has_synsets(folder)
    files = _listed(root, folder, synsets) if sorted_out else _solved(root, folder, base / SOLUTION, synsets)
    classes = _names(base / MAPPING, synsets)
    return open_files("imagenet", root, classes, files, split, shape or SHAPE, access, path=base, identity=synsets)


def _tree(base: Path, split: FullSplit) -> Path | None:
    """The folder of train/ and val/, if it has images of this split whose classes are known."""
    for tree in TREES:
        folder = base / tree / PARTS[split]
        if _has_synsets(folder) or (split == "test" and folder.is_dir() and (base / SOLUTION).is_file()):
            return base / tree
    return None


def _has_synsets(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(SYNSET.fullmatch(entry.name) and entry.is_dir() for entry in entries)
    except OSError:
        return False


def _synsets(root: Path, base: Path) -> tuple[str, ...]:
    """The classes of all splits: the folders of train, else of val, else what the table of names knows."""
    folder = next((root / part for part in PARTS.values() if _has_synsets(root / part)), None)
    found = class_folders(folder) if folder is not None else tuple(sorted(_mapping(base / MAPPING)))
    for name in found:
        if not SYNSET.fullmatch(name):
            raise InputError(f"'{root}' has a class '{name}', which is no synset; remove it, or use folder:PATH.")
    if not found:
        raise MissingError(f"'{base / MAPPING}' is missing, which says what classes there are; restore it.")
    return found


def _listed(root: Path, folder: Path, synsets: tuple[str, ...]) -> list[File]:
    other = [name for name in class_folders(folder) if name not in set(synsets)]
    if other:
        raise InputError(f"'{folder / other[0]}' is a class that train lacks; give both splits the same classes.")
    return files_below(root, folder, synsets)


def _solved(root: Path, folder: Path, table: Path, synsets: tuple[str, ...]) -> list[File]:
    """The images that Kaggle's table names, in the order of their numbers."""
    labels = {name: label for label, name in enumerate(synsets)}
    found = []
    for row in csv.reader(_lines(table)[1:]):
        image, words = row[0] if row else "", row[1].split() if len(row) > 1 else []
        if not IMAGE.fullmatch(image) or not words or words[0] not in labels:
            raise InputError(f"'{table}' does not say in every line which class an image has; restore it.")
        name = f"{PARTS['test']}/{image}.JPEG"
        try:
            found.append(File(name, labels[words[0]], (root / name).stat().st_size))
        except OSError:
            raise MissingError(f"'{folder / f'{image}.JPEG'}' is missing; restore it.") from None
    if not found:
        raise InputError(f"'{table}' names no images; restore it.")
    return sorted(found, key=lambda file: file.name)


def _names(table: Path, synsets: tuple[str, ...]) -> tuple[str, ...]:
    """The first name of each synset, with the synset itself where two have the same; without a table the synsets."""
    mapping = _mapping(table)
    first = {synset: mapping[synset] for synset in synsets if synset in mapping}
    uses = Counter(first.values())
    return tuple(
        synset if synset not in first else first[synset] if uses[first[synset]] == 1 else f"{first[synset]} ({synset})"
        for synset in synsets
    )


def _mapping(table: Path) -> dict[str, str]:
    """Synset and first name of each line `n01440764 tench, Tinca tinca`; empty without a table."""
    if not table.is_file():
        return {}
    mapping = {}
    for line in _lines(table):
        synset, _, names = line.strip().partition(" ")
        name = names.split(",")[0].strip()
        if not SYNSET.fullmatch(synset) or not name.isprintable() or not name:
            raise InputError(f"'{table}' does not hold a synset and its names in every line; restore or remove it.")
        mapping[synset] = name
    return mapping


def _lines(table: Path) -> list[str]:
    try:
        return read_whole(table, MOST_BYTES).decode().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"'{table}' is no UTF-8 text; restore it.") from None
