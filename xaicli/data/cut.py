"""A data set cut down to some of its rows, with labels of its own; or to some of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import UNKNOWN, Dataset, Images, Positions, Rows


@dataclass(frozen=True, eq=False, kw_only=True)
class Cut(Dataset):
    """Some rows of a data set, with labels of their own."""

    whole: Dataset
    positions: Rows

    def key(self, position: int) -> str:
        """The sample's name in the whole."""
        return self.whole.key(int(self.positions[position]))

    def read(self, positions: Positions) -> Images:
        """Pixels of the rows at these positions of the cut."""
        return self.whole.read(self.positions[np.asarray(positions, dtype=np.int64)])

    def masks(self, positions: Positions) -> NDArray[np.bool_] | None:
        """The object's pixels, where the whole knows them."""
        return self.whole.masks(self.positions[np.asarray(positions, dtype=np.int64)])


def cut(dataset: Dataset, positions: Rows, labels: Rows, **other: Any) -> Cut:
    """The rows at these positions, ascending; labels: of all rows of the data set; other: fields that change."""
    same: dict[str, Any] = {item.name: getattr(dataset, item.name) for item in fields(Dataset)}
    own = {"labels": labels[positions], "index": dataset.index[positions], "whole": dataset, "positions": positions}
    return Cut(**{**same, **own, **other})


def relabelled(dataset: Dataset, known: Sequence[int]) -> Dataset:
    """All rows, of which those of the known classes have labels from 0 on, in that order, and the others have none.

    known: ascending class numbers of the data set.
    """
    mapped = np.full(UNKNOWN + 1, UNKNOWN, dtype=np.int64)
    mapped[list(known)] = np.arange(len(known))
    classes = tuple(dataset.classes[number] for number in known)
    everywhere = np.arange(len(dataset), dtype=np.int64)
    return cut(dataset, everywhere, mapped[dataset.labels], classes=classes, known=tuple(known))


def only_known(dataset: Dataset) -> Dataset:
    """The rows that have a label; the data set itself where all have one."""
    has_label = dataset.labels != UNKNOWN
    return dataset if has_label.all() else cut(dataset, np.flatnonzero(has_label), dataset.labels)
