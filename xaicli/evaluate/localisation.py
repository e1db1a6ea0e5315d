"""Metrics against a mask of the object."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.scores import Hits, Scores


def pointing_game(attribution: Tensor, order: Tensor, mask: Tensor) -> Hits:
    """Share of maps whose maximum lies on the object, higher is better (Zhang et al., 2018).

    Tolerance 0; ties are broken by a seeded permutation. A constant map and an empty mask are undefined.
    """
    hit = mask.flatten(1).gather(1, order[:, :1]).squeeze(1).to(attribution)
    flat = attribution.flatten(1)
    defined = (flat.amax(1) > flat.amin(1)) & mask.flatten(1).any(1)
    return Hits(torch.where(defined, hit, torch.nan))


def relevance_mass(attribution: Tensor, mask: Tensor) -> Scores:
    """Share of the positive attribution that lies on the object, higher is better (Arras et al., 2022).

    Undefined without a positive pixel or with an empty mask.
    """
    positive = attribution.clamp_min(0).double()
    inside, total = (positive * mask).sum((1, 2)), positive.sum((1, 2))
    defined = (total > 0) & mask.flatten(1).any(1)
    return Scores(torch.where(defined, inside / total.clamp_min(torch.finfo(torch.float64).tiny), torch.nan))
