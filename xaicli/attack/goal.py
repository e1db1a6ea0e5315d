"""Whether an attack has reached its goal, by whatever logits are to decide."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from xaicli.attack.engine import Attacked
from xaicli.data.dataset import UNKNOWN


def reached(logits: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Whether the attack's goal is reached, [n]: another class than the true one, or the one aimed at."""
    goal = torch.where(target == UNKNOWN, logits.argmax(1) != labels, logits.argmax(1) == target)
    return goal & logits.isfinite().all(1)


def as_judged(done: Attacked, clean_logits: Tensor, logits: Tensor, labels: Tensor, eps: float | None) -> Attacked:
    """The same images with these logits, and success, stage and radius as they follow from them."""
    success = reached(logits, labels, done.target) & (clean_logits.argmax(1) == labels)
    radius = done.broken_at.nan_to_num(nan=torch.inf if eps is None else eps)
    return replace(
        done,
        clean_logits=clean_logits,
        logits=logits,
        success=success,
        stage=torch.where(success, done.stage.clamp(min=1), 0),
        broken_at=torch.where(success & radius.isfinite(), radius, torch.nan),
    )
