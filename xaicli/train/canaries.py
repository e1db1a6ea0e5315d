"""Canaries: training images with a random wrong label, each of which a fair coin puts into the training or leaves out.

Which images and labels they are depends on the data alone, the coins on the training's seed: what trainings with other
seeds make of the same canaries tells what a model has learnt of each. Steinke, Nasr and Jagielski (2023) audit privacy
with the canaries of one training; Carlini et al. (2022) attack membership with those of several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.data.cut import cut
from xaicli.data.dataset import Dataset
from xaicli.errors import InputError, UsageError
from xaicli.run.random import generator

PREFIX = "xaicli.canaries."
_KINDS = {"rows": np.int64, "labels": np.int64, "included": np.bool_}


@dataclass(frozen=True, eq=False)
class Canaries:
    """The canaries of one training, in ascending order of their rows."""

    rows: npt.NDArray[np.int64]
    """[m], row numbers in the full training split."""
    labels: npt.NDArray[np.int64]
    """[m], the wrong labels that they are trained with."""
    included: npt.NDArray[np.bool_]
    """[m], whether the coin put them into the training."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps of them, by its names."""
        return {f"{PREFIX}{name}": getattr(self, name) for name in _KINDS}


def draw_canaries(dataset: Dataset, m: int, seed: int) -> Canaries:
    """Take m rows, a label for each that is not its own, and toss a coin for each.

    dataset: what a training without canaries would learn. Those of a smaller m are among those of a larger one, with
    the same labels. seed: of the coins. Raises UsageError where m canaries cannot be had.
    """
    rows, classes = len(dataset), len(dataset.classes)
    if not 0 < m < rows:
        raise UsageError(f"{m} canaries cannot be drawn from {rows} training images; ask for fewer, and at least one.")
    if classes < 2:
        raise UsageError(
            f"'{dataset.name}' has a single class, so no image can have a wrong label; leave canaries out."
        )
    chosen = generator(0, f"canaries:{dataset.name}").permutation(rows)[:m]
    shifts = generator(0, f"canary labels:{dataset.name}").integers(1, classes, size=rows)[:m]
    coins = generator(seed, f"canary coins:{dataset.name}").integers(2, size=rows)[:m]
    order = np.argsort(chosen)
    chosen = chosen[order]
    labels = (dataset.labels[chosen] + shifts[order]) % classes
    return Canaries(dataset.index[chosen].copy(), labels.astype(np.int64), coins[order].astype(np.bool_))


def with_canaries(dataset: Dataset, canaries: Canaries) -> Dataset:
    """The rows a training with these canaries learns: those left out are gone, those put in have their wrong label."""
    labels = dataset.labels.copy()
    positions = np.searchsorted(dataset.index, canaries.rows)
    labels[positions] = canaries.labels
    kept = np.ones(len(dataset), dtype=np.bool_)
    kept[positions[~canaries.included]] = False
    return cut(dataset, np.flatnonzero(kept), labels)


def canaries_in(tensors: Mapping[str, npt.NDArray[Any]], what: str) -> Canaries | None:
    """The canaries of a checkpoint, None if it has none; what: its name for the InputError when they make no sense."""
    if not any(name.startswith(PREFIX) for name in tensors):
        return None
    damaged = InputError(f"the canaries of {what} are damaged; train the model again.")
    found = {name: tensors.get(f"{PREFIX}{name}") for name in _KINDS}
    rows = found["rows"]
    fits = rows is not None and all(
        array is not None and array.dtype == _KINDS[name] and array.shape == (rows.size,)
        for name, array in found.items()
    )
    if not fits or rows is None or rows.size == 0:
        raise damaged
    canaries = Canaries(**{name: array for name, array in found.items() if array is not None})
    if rows[0] < 0 or (np.diff(rows) <= 0).any() or (canaries.labels < 0).any():
        raise damaged
    return canaries
