"""How far predictions move under attack: the Kullback-Leibler divergence, its slope, and the ascent that raises it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from xaicli.attack.norms import project
from xaicli.attack.plan import Attack, Draw

NEARBY = 0.001  # standard deviation of the start (Zhang et al., 2019): at the image itself the slope vanishes


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """KL(p, q) of softmax(clean) from softmax(attacked), logits [n, K] each, as [n]; finite for any logits."""
    log_p, log_q = clean.log_softmax(1), attacked.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def slope_from(clean: Tensor) -> Callable[[Tensor], Tensor]:
    """The slope of KL(p, q) in the logits of q, which is q - p, for fixed logits of p."""
    p, largest = clean.softmax(1), clean.argmax(1, keepdim=True)

    @torch.no_grad()
    def slope(attacked: Tensor) -> Tensor:
        # shares near 1 have lost the digits that count; they are in the others, and all together sum to zero
        rest = (attacked.softmax(1) - p).scatter(1, largest, 0.0)
        return rest.scatter(1, largest, -rest.sum(1, keepdim=True))

    return slope


def from_nearby(attack: Attack) -> Attack:
    """The same attack, begun at the image plus 0.001 N(0, 1)."""

    def start(draw: Draw, clean: Tensor) -> Tensor:
        return project(clean + NEARBY * draw.normal(), clean, attack.eps or 0.0, attack.norm)

    return replace(attack, start=start)
