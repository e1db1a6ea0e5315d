"""Detectors that reshape the features, ask the last layer again, and take the energy of what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.logits import energy_of
from xaicli.signatures import Share


@dataclass(frozen=True, kw_only=True, eq=False)
class Rectified(Detector):
    """The energy of the logits that features make which are cut off at `ceiling`."""

    ceiling: Annotated[Tensor, ()]
    weight: Annotated[Tensor, ("K", "D")]
    bias: Annotated[Tensor, ("K",)]

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """In the logits' own unit."""
        return energy_of(
            linear(torch.minimum(features.double(), self.ceiling), self.weight.double(), self.bias.double())
        )


def react(features: Tensor, weight: Tensor, bias: Tensor, *, percentile: Share = 0.9) -> Rectified:
    """Energy after cutting large activations off (Sun et al., 2021).

    percentile: the share of the known rows' activations, all units together, that stay as they are.
    """
    ceiling = np.quantile(features.cpu().numpy(), percentile)
    return Rectified(ceiling=torch.tensor(float(ceiling)).to(features.double()), weight=weight, bias=bias)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shaped(Detector):
    """The energy of the logits that each row's largest features make, scaled or levelled."""

    kind: str
    percentile: float
    weight: Annotated[Tensor, ("K", "D")]
    bias: Annotated[Tensor, ("K",)]

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """In the logits' own unit."""
        shaped = _shape(features.double(), self.kind, self.percentile)
        return energy_of(linear(shaped, self.weight.double(), self.bias.double()))


def ash(
    weight: Tensor, bias: Tensor, *, kind: Literal["scale", "binarise", "prune"] = "scale", percentile: Share = 0.65
) -> Shaped:
    """Energy after activation shaping (Djurisic et al., 2023); made for features after a ReLU.

    percentile: the share of each row's features, the smallest, that are set to 0 (the default is that of the authors'
    code). kind: the rest is multiplied by exp(sum before / sum after) (ASH-S), set to one value so that the sum stays
    (ASH-B), or left (ASH-P).
    """
    return Shaped(kind=kind, percentile=percentile, weight=weight, bias=bias)


def _shape(features: Tensor, kind: str, percentile: float) -> Tensor:
    width = features.shape[1]
    largest, place = features.topk(width - round(width * percentile), dim=1)
    total = features.sum(1, keepdim=True)
    if kind == "binarise":
        largest = (total / max(largest.shape[1], 1)).expand_as(largest)
    shaped = torch.zeros_like(features).scatter(1, place, largest)
    if kind == "scale":
        kept = largest.sum(1, keepdim=True)
        some = kept > 0  # a row of zeros stays one, whatever the factor
        shaped = shaped * torch.where(some, total / torch.where(some, kept, 1), 0).exp()
    return shaped
