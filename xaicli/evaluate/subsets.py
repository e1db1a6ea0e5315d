"""Random subsets of pixels removed together: drawn and asked once, whatever explainer is judged by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.cells import Grid, cut
from xaicli.evaluate.perturbed import perturbed_logits, replaced
from xaicli.run.plan import forwards
from xaicli.run.random import Stream

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Subsets:
    """Random subsets of each row's cells, and the logits [n, draws, K] when they are removed."""

    grid: Grid
    packed: Bits  # [n, draws, bytes], a bit a cell
    logits: Tensor

    def removed(self, row: int) -> Tensor:
        """The subsets of one row, bool [draws, cells]."""
        return _unpacked(self.packed[row], self.grid).to(self.logits.device)

    def sums(self, attribution: Tensor) -> Tensor:
        """What each map [n, H, W] says of each subset: its sum there, float64 [n, draws]."""
        values = self.grid.sums(attribution)
        return torch.stack([self.removed(row).to(values) @ value for row, value in enumerate(values)])


@forwards(lambda draws: draws)
def subset_removal(
    subject: Subject,
    baseline_image: Tensor,
    stream: Stream,
    *,
    share: float = 0.2,
    draws: int = 100,
    grid: int | None = None,
) -> Subsets:
    """Random subsets of that share of the cells (at least one, never all of several) replaced by the baseline."""
    images, cells = subject.images, cut(subject.images, grid)
    chosen = min(max(1, round(share * cells.cells)), max(1, cells.cells - 1))
    packed = np.stack(
        [
            np.packbits(_smallest(stream.row(row, "subsets").uniform((draws, cells.cells))[0], chosen), axis=1)
            for row in range(len(images))
        ]
    )

    def perturb(row: int, numbers: Tensor) -> Tensor:
        removed = _unpacked(packed[row][numbers.cpu().numpy()], cells).to(images.device)
        return replaced(images[row], baseline_image[row], cells.paint(removed))

    return Subsets(cells, packed, perturbed_logits(subject, draws, perturb))


def _smallest(draws: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.bool_]:
    """The `count` smallest of each row of numbers; of equal ones the first, so that no sorting algorithm decides."""
    limit = np.partition(draws, count - 1, axis=1)[:, count - 1 : count]
    below, equal = draws < limit, draws == limit
    missing = count - below.sum(1, keepdims=True)
    chosen: npt.NDArray[np.bool_] = below | (equal & (equal.cumsum(1) <= missing))
    return chosen


def _unpacked(packed: Bits, grid: Grid) -> Tensor:
    return torch.as_tensor(np.unpackbits(packed, axis=1, count=grid.cells)).bool()


QUERIES = (subset_removal,)
