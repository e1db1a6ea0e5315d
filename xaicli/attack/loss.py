"""The loss that attacks raise, one value a sample, and its slope."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def log_odds(logits: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """Log odds against class `aim` [n], the logsumexp of all other logits less its own, and their slope [n, K].

    The cross-entropy is softplus of this, so both have the same direction of steepest ascent and order points alike;
    but the cross-entropy's gradient loses its digits where the class is nearly certain, and vanishes beyond.
    """
    column = aim.unsqueeze(1)
    others = logits.scatter(1, column, float("-inf"))
    shares = others.log_softmax(1)
    # the logsumexp is what log_softmax took off, seen where it is exact: at the largest
    total = others.amax(1) - shares.amax(1)
    return total - logits.gather(1, column).squeeze(1), shares.exp_().scatter_(1, column, -1.0)
