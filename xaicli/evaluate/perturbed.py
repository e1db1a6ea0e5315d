"""Asking about perturbed images that do not depend on any map: they are built batch by batch and never kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.run.calls import Answer

Perturb = Callable[[int, Tensor], Tensor]  # row, numbers of its perturbed images [k] -> the images [k, C, H, W]


def perturbed_logits(subject: Subject, count: int, perturb: Perturb) -> Tensor:
    """Logits of `count` perturbed images of every row, [n, count, K]."""
    calls, rows = subject.calls, len(subject.images)

    def build(items: Tensor) -> Answer:
        owners, lengths = torch.unique_consecutive(items // count, return_counts=True)
        numbers = torch.split(items % count, lengths.tolist())
        return (torch.cat([perturb(row, part) for row, part in zip(owners.tolist(), numbers, strict=True)]),)

    with torch.no_grad():
        answers = calls.over(rows * count, build, lambda images: (calls.classifier(images),))
        return torch.cat([part for _, (part,) in answers]).view(rows, count, -1)


def replaced(image: Tensor, replacement: Tensor, where: Tensor) -> Tensor:
    """The image [C, H, W] with other pixels where the masks [k, H, W] say so, [k, C, H, W].

    replacement: [C, H, W], or [k, C, H, W] where each has its own.
    """
    # exact at 0 and 1, and faster than where
    return torch.lerp(image.unsqueeze(0), replacement, where.to(image).unsqueeze(1))


def drops(subject: Subject, image_score: Tensor, logits: Tensor, quantity: str) -> Tensor:
    """How much of the quantity each perturbation takes away, float64 [n, k], from its logits [n, k, K]."""
    return image_score.double().unsqueeze(1) - subject.scored(logits, quantity).double()
