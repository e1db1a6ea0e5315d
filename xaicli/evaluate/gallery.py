"""One image for each row that is judged, from any data set, and what a model makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.data.cut import cut
from xaicli.data.dataset import Dataset
from xaicli.errors import InputError
from xaicli.files.columns import Status
from xaicli.run.calls import Calls
from xaicli.run.features import compute_training
from xaicli.run.inputs import Inputs
from xaicli.run.random import generator

Positions = npt.NDArray[np.int64]
NONE = -1


@dataclass(frozen=True, eq=False)
class Gallery:
    """positions: int64 [N], where each row's image is in the data set, -1 where it has none."""

    dataset: Dataset
    positions: Positions

    def features(self, calls: Calls) -> Tensor:
        """The penultimate features of all, float64 [N, D]; NaN for an image that is not there or cannot be used."""
        present = self.positions != NONE
        chosen = np.unique(self.positions[present])
        found = torch.full((len(self.positions), calls.head().width), torch.nan, dtype=torch.float64)
        if not len(chosen):
            return found
        part = cut(self.dataset, chosen, self.dataset.labels)
        try:
            known = compute_training(part, calls)
        except InputError:  # not one of them can be used
            return found
        each = torch.full((len(chosen), found.shape[1]), torch.nan, dtype=torch.float64)
        each[np.searchsorted(part.index, known.index.numpy())] = known.features.double()
        found[torch.as_tensor(present)] = each[np.searchsorted(chosen, self.positions[present])]
        return found

    def images(self, rows: Tensor) -> Tensor:
        """The images of some rows, float32 [n, C, H, W] in [0, 1]; NaN as above."""
        chosen = self.positions[rows.numpy()]
        found = torch.full((len(chosen), *self.dataset.shape), torch.nan)
        present = np.flatnonzero(chosen != NONE)
        if len(present):
            read = Inputs(self.dataset, chosen[present]).load(0, len(present))
            usable = read.status == Status.OK
            found[torch.as_tensor(present[usable])] = torch.as_tensor(read.pixels[usable])
        return found


def drawn_alike(dataset: Dataset, classes: Positions, seed: int) -> Gallery:
    """An image of each row's class, drawn from all of it without replacement; none where the class has no more."""
    positions = np.full(len(classes), NONE, dtype=np.int64)
    for label in np.unique(classes):
        wanted, members = np.flatnonzero(classes == label), np.flatnonzero(dataset.labels == label)
        order = generator(seed, f"drawn-alike:{dataset.name}:{dataset.split}", int(label)).permutation(len(members))
        count = min(len(wanted), len(members))
        positions[wanted[:count]] = members[order[:count]]
    return Gallery(dataset, positions)
