"""The straight path from a baseline to the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xaicli.explain.baselines import make_baseline
from xaicli.explain.block import Block, Scored
from xaicli.explain.quantity import score
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards
from xaicli.run.random import Stream


@dataclass(frozen=True)
class PathPass:
    """The gradient averaged along the straight path from a baseline, and the quantity at the baseline."""

    gradient: Tensor  # [n, C, H, W]
    baseline: Tensor  # [n, C, H, W]
    baseline_score: Tensor  # [n]


def baseline_image(block: Block, stream: Stream, *, baseline: str = "black") -> Tensor:
    """The image that stands for the absence of evidence, [n, C, H, W]."""
    return make_baseline(baseline, block.images, stream)


@forwards(lambda steps: steps + 1)
def path_pass(block: Block, prediction: Scored, baseline_image: Tensor, *, steps: int = 50) -> PathPass:
    """Gauss-Legendre average of the gradient over the straight path from the baseline to the image."""
    calls, images = block.calls, block.images
    points, weights = np.polynomial.legendre.leggauss(steps)
    nodes = torch.as_tensor((points + 1) / 2, dtype=images.dtype, device=images.device)
    shares = torch.as_tensor(weights / 2, dtype=images.dtype, device=images.device)
    difference, count = images - baseline_image, len(images)

    def build(items: Tensor) -> Answer:
        rows, at = items % count, nodes[items // count].view(-1, 1, 1, 1)
        points = (difference.index_select(0, rows) * at).add_(baseline_image.index_select(0, rows))
        return points, prediction.target[rows], prediction.against[rows]

    def ask(points: Tensor, target: Tensor, against: Tensor) -> Answer:
        points = points.requires_grad_()
        value = score(calls.classifier(points), target, against, block.quantity)
        return torch.autograd.grad(value.sum(), points)

    total = torch.zeros_like(images)
    for items, (part,) in calls.over(count * steps, build, ask):
        # all rows at one step, then all at the next: a row's terms are added in order, however the batches are cut
        first, done = int(items[0]), 0
        while done < len(part):
            row, share = (first + done) % count, shares[(first + done) // count]
            end = min(row + len(part) - done, count)
            total[row:end] += share * part[done : done + end - row]
            done += end - row
    at_baseline = score(calls.logits(baseline_image), prediction.target, prediction.against, block.quantity)
    return PathPass(total, baseline_image, at_baseline)


QUERIES = (baseline_image, path_pass)
