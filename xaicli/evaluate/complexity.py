"""How concentrated a map is: properties of the map alone, which say nothing of its being right."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.scores import Scores
from xaicli.signatures import NonNegative


def gini(attribution: Tensor) -> Scores:
    """Gini index of the absolute map, higher is better: fewer pixels hold it (Chalasani et al., 2020).

    From 0, all pixels alike, to (n - 1)/n, one pixel of n. Undefined for a map of zeros.
    """
    sizes = attribution.double().flatten(1).abs().sort(1).values
    count = sizes.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=sizes.device, dtype=sizes.dtype) - count - 1
    total = sizes.sum(1)
    return Scores(
        torch.where(total > 0, (weights * sizes).sum(1) / (count * torch.where(total > 0, total, 1)), torch.nan)
    )


def entropy(attribution: Tensor) -> Scores:
    """Entropy of the absolute map as a distribution, lower is better: fewer pixels hold it (Bhatt et al., 2020).

    In nats, from 0, one pixel, to log(n), all n pixels alike. Undefined for a map of zeros.
    """
    sizes = attribution.double().flatten(1).abs()
    total = sizes.sum(1, keepdim=True)
    parts = sizes / torch.where(total > 0, total, 1)
    return Scores(torch.where(total[:, 0] > 0, -torch.xlogy(parts, parts).sum(1), torch.nan))


def effective_complexity(attribution: Tensor, *, eps: NonNegative = 1e-5) -> Scores:
    """Number of pixels that the map uses, lower is better (Nguyen and Martinez, 2020).

    Pixels whose absolute attribution is more than `eps` of the row's own largest, from 1 to all. Undefined for a map of
    zeros.
    """
    sizes = attribution.double().flatten(1).abs()
    largest = sizes.amax(1, keepdim=True)
    return Scores(torch.where(largest[:, 0] > 0, (sizes > eps * largest).sum(1).double(), torch.nan))
