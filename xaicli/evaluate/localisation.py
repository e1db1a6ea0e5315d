"""Metrics against a mask of the object."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.correlation import ranks
from xaicli.evaluate.scores import Hits, Scores
from xaicli.signatures import Share


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


def relevance_rank(order: Tensor, mask: Tensor) -> Scores:
    """Share of the object that its number of most relevant pixels covers, higher is better (Arras et al., 2022).

    From 0 to 1. Ties are broken by a seeded permutation. Undefined with an empty mask.
    """
    hits = mask.flatten(1).gather(1, order)
    size = hits.sum(1)
    inside = (hits & (torch.arange(hits.shape[1], device=hits.device) < size.unsqueeze(1))).sum(1).double()
    return Scores(torch.where(size > 0, inside / size.clamp_min(1), torch.nan))


def top_k_intersection(order: Tensor, mask: Tensor, *, share: Share = 0.02) -> Scores:
    """Share of the k most relevant pixels that lie on the object, higher is better (Theiner et al., 2022).

    k is `share` of all pixels, at least one; from 0 to 1, which an object of fewer pixels cannot reach. Ties are broken
    by a seeded permutation. Undefined with an empty mask.
    """
    hits = mask.flatten(1).gather(1, order)
    top = hits[:, : max(1, round(share * hits.shape[1]))].double().mean(1)
    return Scores(torch.where(hits.any(1), top, torch.nan))


def localisation_auc(attribution: Tensor, mask: Tensor) -> Scores:
    """Chance that a pixel of the object has more attribution than one beside it, higher is better (Simon et al., 2019).

    The area under the ROC curve of the signed map as a score for the mask, from 0 to 1; ties count one half, so a
    constant map has .5. Undefined with a mask that is empty or covers the image.
    """
    inside = mask.flatten(1)
    size = inside.sum(1).double()
    pairs = size * (inside.shape[1] - size)
    sums = torch.where(inside, ranks(attribution.flatten(1)), 0).sum(1)
    return Scores(torch.where(pairs > 0, (sums - size * (size + 1) / 2) / torch.where(pairs > 0, pairs, 1), torch.nan))
