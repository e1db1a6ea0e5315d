"""What a training has made of rows: which it has seen, with which labels, and how sure the model is of those now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trained:
    """The root: the class that a row is or would have been trained as, int64 [n], and whether it was, bool [n]."""

    labels: Tensor
    included: Tensor


@dataclass(frozen=True, eq=False)
class TrainedRows:
    """The same of all rows that are judged; index: their numbers in the training split, ascending."""

    index: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    included: npt.NDArray[np.bool_]

    def of(self, index: npt.NDArray[np.int64], device: torch.device) -> Trained:
        """Those of some rows."""
        positions = np.searchsorted(self.index, index)
        return Trained(*(torch.as_tensor(part[positions]).to(device) for part in (self.labels, self.included)))


@dataclass(frozen=True, eq=False)
class Seen:
    """What several checkpoints say of their trainings: rows by the checkpoint's id, and other facts by source."""

    rows: Mapping[str, TrainedRows]
    facts: Sequence[Mapping[str, Any]]


def confidence(logits: Tensor, trained: Trained) -> Tensor:
    """log(p / (1 - p)) of the trained class, [n]; the logits' difference keeps what p would round to 1.

    Undefined for rows without a true class.
    """
    known = trained.labels < logits.shape[1]
    place = torch.where(known, trained.labels, 0).unsqueeze(1)
    values = logits.double()
    others = values.scatter(1, place, -torch.inf).logsumexp(1)
    return torch.where(known, values.gather(1, place).squeeze(1) - others, torch.nan)


QUERIES = (confidence,)
