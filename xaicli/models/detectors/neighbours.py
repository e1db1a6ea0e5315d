"""The detector that asks how far the nearest known rows are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor
from torch.nn.functional import normalize

from xaicli.errors import InputError
from xaicli.models.detectors.detector import Detector
from xaicli.signatures import Count


@dataclass(frozen=True, kw_only=True, eq=False)
class NearestNeighbours(Detector):
    """Minus the distance to the k-th nearest known row, all features scaled to length 1; from -2 to 0.

    rows: those features, in the type they were given in.
    """

    rows: Annotated[Tensor, ("n", "D")]
    k: int

    def __post_init__(self) -> None:
        if len(self.rows) < self.k:
            raise InputError(f"the {self.k} nearest of {len(self.rows)} known rows do not exist; ask for a smaller k.")

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """A row without any feature lies at distance 1 of all."""
        asked, rows = normalize(features.double()), self.rows.double()
        place = (asked @ rows.T).topk(self.k, dim=1).indices[:, -1]
        distance: Tensor = (asked - rows[place]).norm(dim=1)
        return -distance


def knn(features: Tensor, *, k: Count = 50) -> NearestNeighbours:
    """Distance to the k-th nearest known row on the unit sphere (Sun et al., 2022).

    k: the paper's 50 for CIFAR-10; 200 for CIFAR-100 and 1,000 for ImageNet there. All rows are kept. Raises InputError
    where there are fewer than k.
    """
    return NearestNeighbours(rows=normalize(features), k=k)
