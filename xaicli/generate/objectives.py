"""What generators raise: a class, units inside the network, likeness to another image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.generate.plan import Task
from xaicli.generate.representation import Representation
from xaicli.run.calls import Calls


@dataclass(frozen=True)
class ClassScore:
    """The target's logit, minus its cross-entropy, or the log odds of it against all other classes."""

    name: Literal["logit", "cross-entropy", "odds"] = "logit"

    def __call__(self, calls: Calls, images: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """The objective [n] and the logits."""
        logits: Tensor = calls.classifier(images)
        if self.name == "cross-entropy":
            return -cross_entropy(logits, task.target, reduction="none"), logits
        column = task.target.unsqueeze(1)
        own = logits.gather(1, column).squeeze(1)
        if self.name == "logit":
            return own, logits
        return own - logits.scatter(1, column, float("-inf")).logsumexp(1), logits


@dataclass(frozen=True)
class Response:
    """The layer's channels times the aim [n, D]: one of them, several, or a direction.

    place: of each channel the mean over its places, or the one in the middle.
    """

    inside: Representation
    place: Literal["mean", "middle"] = "mean"

    def __call__(self, calls: Calls, images: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """The objective [n] and the logits."""
        logits, maps = self.inside.of(calls, images)
        return (task.aim * self.pooled(maps)).sum(1), logits

    def pooled(self, maps: Tensor) -> Tensor:
        """One number a channel, [n, D], of maps [n, D, h, w]."""
        return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2] if self.place == "middle" else maps.mean((2, 3))


@dataclass(frozen=True)
class Likeness:
    """Minus the distance of the layer's numbers to the aim, as a share of the aim's size; NaN for an aim of zeros."""

    inside: Representation

    def __call__(self, calls: Calls, images: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """The objective [n] and the logits."""
        logits, maps = self.inside.of(calls, images)
        size = task.aim.norm(dim=1)
        apart = (maps.flatten(1) - task.aim).norm(dim=1)
        return -apart / torch.where(size > 0, size, float("nan")), logits
