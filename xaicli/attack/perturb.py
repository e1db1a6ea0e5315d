"""Adversarial examples for training: every step on every sample, nothing dropped, the last iterate taken."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaicli.attack.loss import log_odds
from xaicli.attack.plan import Attack, Draw
from xaicli.run.calls import evaluating


def perturb(
    attack: Attack,
    classifier: torch.nn.Module,
    images: Tensor,
    labels: Tensor,
    draw: Draw,
    slope: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The whole batch moved by `attack.steps` steps, [n, C, H, W].

    slope: of the loss to be raised in the logits [n, K]; by default that of the log odds against the labels. BatchNorm
    is in eval mode meanwhile, and parameters, their gradients and the training flags are left as they were.
    """
    slope = slope or (lambda logits: log_odds(logits, labels)[1])
    with evaluating(classifier):
        point = attack.start(draw, images)
        for _ in range(attack.steps):
            point = point.detach().requires_grad_()
            logits = classifier(point)
            (gradient,) = torch.autograd.grad(logits, point, slope(logits))
            point = attack.move(point.detach(), images, gradient.contiguous(), draw)
        return point.detach()
