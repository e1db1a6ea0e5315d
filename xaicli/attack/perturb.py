"""Adversarial examples for training: every step on every sample, nothing dropped, the last iterate taken."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.attack.loss import log_odds
from xaicli.attack.plan import Attack, Draw
from xaicli.run.calls import evaluating


def perturb(attack: Attack, classifier: torch.nn.Module, images: Tensor, labels: Tensor, draw: Draw) -> Tensor:
    """The whole batch moved by `attack.steps` steps, [n, C, H, W].

    BatchNorm is in eval mode meanwhile, and parameters, their gradients and the training flags are left as they were.
    """
    with evaluating(classifier):
        point = attack.start(draw, images)
        for _ in range(attack.steps):
            point = point.detach().requires_grad_()
            logits = classifier(point)
            (gradient,) = torch.autograd.grad(logits, point, log_odds(logits, labels)[1])
            point = attack.move(point.detach(), images, gradient.contiguous(), draw)
        return point.detach()
