"""Normalised gradient ascent on each image for itself; the batch only shares the model call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.attack.norms import direction, project, size
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

    def ask(images: Tensor, classes: Tensor, start: Tensor, weights: Tensor) -> Answer:
        logits = calls.classifier(images.requires_grad_())
        objective = _objective(logits, classes, ascent.objective)
        (gradient,) = torch.autograd.grad(objective.sum(), images)
        gradient = gradient * weights
        moving = size(gradient, "linf") > 0  # without a gradient there is no direction that means anything
        step = torch.where(moving.view(-1, 1, 1, 1), direction(gradient, "l2", lambda: torch.ones_like(start)), 0)
        return objective.detach(), project(images.detach() + stride * step, start, radius, "l2")

    weights = torch.ones_like(start[:, :1]) if weights is None else weights
    images = start
    losses = []
    for _ in range(ascent.steps):
        objective, images = calls.each(ask, images, target, start, weights)
        losses.append(-objective)
    images = (images * 255).round() / 255
    logits = calls.logits(images)
    score = _objective(logits, target, ascent.objective)
    return Ascended(images, logits, score, torch.stack([*losses, -score], dim=1))


def _objective(logits: Tensor, target: Tensor, name: str) -> Tensor:
    if name == "logit":
        return logits.gather(1, target.unsqueeze(1)).squeeze(1)
    return -cross_entropy(logits, target, reduction="none")
