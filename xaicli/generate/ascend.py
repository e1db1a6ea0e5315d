"""Normalised gradient ascent on each image for itself; the batch only shares the model call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.attack.norms import direction, project
from xaicli.generate.class_images import Ascent
from xaicli.run.calls import Answer, Calls


@dataclass(frozen=True)
class Ascended:
    """Images [n, C, H, W] in 256 levels, as stored, their logits [n, K], score [n] and loss curve [n, steps + 1]."""

    images: Tensor
    logits: Tensor
    score: Tensor
    loss: Tensor


def ascend(ascent: Ascent, calls: Calls, start: Tensor, target: Tensor, weights: Tensor | None) -> Ascended:
    """Drive images towards their class.

    start: [n, C, H, W] in [0, 1]. weights: [n, 1, H, W] in [0, 1], how much each pixel may move, or None. The loss is
    minus the objective, measured before every step and on the stored image.
    """
    side = max(start.shape[2:])
    radius, stride = ascent.radius(side), ascent.stride(side)

    def ask(images: Tensor, classes: Tensor) -> Answer:
        images = images.requires_grad_()
        logits = calls.classifier(images)
        objective = _objective(logits, classes, ascent.objective)
        (gradient,) = torch.autograd.grad(objective.sum(), images)
        return objective.detach(), gradient

    images = start.clone()
    losses = []
    for _ in range(ascent.steps):
        objective, gradient = calls.each(ask, images, target)
        losses.append(-objective)
        if weights is not None:
            gradient = gradient * weights
        moving = gradient.flatten(1).abs().amax(1) > 0  # without a gradient there is no direction that means anything
        step = torch.where(moving.view(-1, 1, 1, 1), direction(gradient, "l2", lambda: torch.ones_like(gradient)), 0)
        images = project(images + stride * step, start, radius, "l2")
    images = (images * 255).round() / 255
    logits = calls.logits(images)
    score = _objective(logits, target, ascent.objective)
    return Ascended(images, logits, score, torch.stack([*losses, -score], dim=1))


def _objective(logits: Tensor, target: Tensor, name: str) -> Tensor:
    if name == "logit":
        return logits.gather(1, target.unsqueeze(1)).squeeze(1)
    return -cross_entropy(logits, target, reduction="none")
