"""A data set cut down to some of its rows, with labels of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Dataset, Images, Positions, Rows


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


def cut(dataset: Dataset, positions: Rows, labels: Rows) -> Cut:
    """The rows at these positions, ascending; labels: of all rows of the data set."""
    same: dict[str, Any] = {item.name: getattr(dataset, item.name) for item in fields(Dataset)}
    own = {"labels": labels[positions], "index": dataset.index[positions], "whole": dataset, "positions": positions}
    return Cut(**{**same, **own})
