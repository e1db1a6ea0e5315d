"""Rows of classes that a checkpoint knows, and rows of what it does not: which ones are judged, and where from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.data.cut import Cut
from xaicli.data.dataset import UNKNOWN, Dataset, Rows
from xaicli.data.joined import joined
from xaicli.errors import InputError, UsageError
from xaicli.files.parents import Parents
from xaicli.run.cases import Case, describe_data, open_placed
from xaicli.run.inputs import Inputs
from xaicli.run.selection import choose
from xaicli.run.settings import Settings
from xaicli.run.stored import open_stored_images

KNOWN = 0
LEFT_OUT = "left-out"
"""What rows of the data's own unknown classes are called; all others are named after their data set."""


@dataclass(frozen=True, eq=False)
class OpenRows:
    """What is judged.

    origin: [n], 0 for a known row, s + 1 for one of `unknown[s]`, each with the `name` that its figures have. truth:
    [n], each row's class in `classes`, that of its own data set; rows that have none are one class.
    """

    inputs: Inputs
    origin: Rows
    unknown: tuple[dict[str, Any], ...]
    truth: Rows
    classes: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """What a job says of the rows."""
        known = self.inputs.dataset.known
        return {"unknown": list(self.unknown), "known": list(known) if known else None, "classes": list(self.classes)}

    def of(self, index: npt.NDArray[np.int64]) -> Rows:
        """The places of rows with these numbers among all that are judged."""
        places: Rows = np.searchsorted(self.inputs.index, index)
        return places


@dataclass(frozen=True, eq=False)
class _Source:
    """Some rows of one data set; start: where that data set begins among all."""

    name: str
    dataset: Dataset
    start: int
    rows: Rows


def open_rows(case: Case, unknown: Sequence[str], parents: Parents, settings: Settings) -> OpenRows:
    """The rows of a case that have a class, those of classes that it does not know, and those of further data.

    unknown: data sets or images stores, as typed. The selection is made of each of them apart.
    """
    own = case.inputs.dataset
    has_class = own.labels != UNKNOWN
    if not has_class.any():
        raise InputError(f"no row of '{own.name}' is of a class that '{case.stem}' knows; name other data with --data.")
    sources = [_Source("", own, 0, _chosen(own, has_class, settings))]
    if own.known and not has_class.all():
        sources.append(_Source(LEFT_OUT, own, 0, _chosen(own, ~has_class, settings)))
    start = len(own)
    for text in unknown:
        name, dataset = _open(text, own, parents, settings)
        if any(name == source.name for source in sources):
            raise UsageError(f"--unknown '{name}' is given twice; give it once.")
        sources.append(_Source(name, dataset, start, _chosen(dataset, dataset.labels >= 0, settings)))
        start += len(dataset)
    return _together(sources)


def _together(sources: Sequence[_Source]) -> OpenRows:
    parts = list(dict.fromkeys(source.dataset for source in sources))
    positions = np.concatenate([source.start + source.rows for source in sources])
    order = np.argsort(positions)
    origin = np.repeat(np.arange(len(sources)), [len(source.rows) for source in sources])
    facts = tuple(
        {"name": source.name, "data": describe_data(source.dataset), "rows": len(source.rows)} for source in sources[1:]
    )
    truth, classes = _truth([("", parts[0]), *((one.name, one.dataset) for one in sources if one.start)])
    whole = joined(parts) if len(parts) > 1 else parts[0]
    return OpenRows(Inputs(whole, positions[order]), origin[order], facts, truth[positions[order]], classes)


def _chosen(dataset: Dataset, wanted: npt.NDArray[np.bool_], settings: Settings) -> Rows:
    rows = np.flatnonzero(wanted)
    return rows[choose(dataset.name, dataset.labels[rows], settings)]


def _open(text: str, own: Dataset, parents: Parents, settings: Settings) -> tuple[str, Dataset]:
    """Unknown images with their name."""
    if text.endswith(".h5"):
        return Path(text).stem, open_stored_images(Path(text))
    dataset = open_placed(text, own.shape, parents, settings)
    if dataset.name == own.name:
        why = "its unknown classes are judged as they are" if own.known else "the model knows all of its classes"
        raise UsageError(f"--unknown '{text}' is the data that is judged, and {why}; leave it out.")
    return dataset.name if dataset.split == "test" else f"{dataset.name}:{dataset.split}", dataset


def _truth(datasets: Sequence[tuple[str, Dataset]]) -> tuple[Rows, tuple[str, ...]]:
    """The class of every row of data sets one after the other, each with classes of its own, and their names.

    datasets: after their names, which go before those of their classes.
    """
    names: list[str] = []
    numbers = []
    for name, dataset in datasets:
        labels, classes = _own_classes(dataset)
        numbers.append(np.where(labels < len(classes), labels, len(classes)) + len(names))
        names += [f"{name}: {one}" if name else one for one in classes]
        names += [name or dataset.name] if (labels >= len(classes)).any() else []
    return np.concatenate(numbers), tuple(names)


def _own_classes(dataset: Dataset) -> tuple[Rows, tuple[str, ...]]:
    """Labels and classes as the source has them."""
    if isinstance(dataset, Cut) and dataset.known:
        labels, classes = _own_classes(dataset.whole)
        return labels[dataset.positions], classes
    return dataset.labels, dataset.classes
