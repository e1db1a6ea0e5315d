"""Which rows of a data set a command works on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError
from xaicli.run.random import generator
from xaicli.run.settings import Settings


def select(dataset: Dataset, settings: Settings) -> npt.NDArray[np.int64]:
    """Positions in the data set, ascending: the first n (of each class) of a permutation fixed per data set.

    `--seed` does not change it, so runs with other seeds stay paired; a smaller n is a subset of a larger one.
    """
    return choose(dataset.permuted_as, dataset.labels, settings)


def choose(name: str, labels: npt.NDArray[np.int64], settings: Settings) -> npt.NDArray[np.int64]:
    """The same for any rows with labels; `name` fixes the permutation."""
    order = generator(0, f"selection:{name}", 0).permutation(len(labels))
    if settings.per_class is not None:
        kept = np.zeros(len(order), dtype=bool)
        for label in np.unique(labels):
            kept[np.flatnonzero(labels[order] == label)[: settings.per_class]] = True
        order = order[kept]
    if settings.limit is not None:
        order = order[: settings.limit]
    if len(order) == 0:
        raise InputError(f"the selection of '{name}' is empty; raise --limit or name other data.")
    return np.sort(order).astype(np.int64)
