"""Data whose unknown classes nobody may read."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from xaicli.data.dataset import Dataset, Images, Positions


@dataclass(frozen=True, eq=False, kw_only=True)
class Poisoned(Dataset):
    """A data set in which some classes cannot be read without an explosion."""

    whole: Dataset
    poison: tuple[int, ...]

    def read(self, positions: Positions) -> Images:
        assert not np.isin(self.labels[np.asarray(positions)], self.poison).any(), "an unknown class was read"
        return self.whole.read(positions)


def poisoned(dataset: Dataset, poison: tuple[int, ...]) -> Dataset:
    same = {item.name: getattr(dataset, item.name) for item in fields(Dataset)}
    return Poisoned(**same, whole=dataset, poison=poison)
