"""Paths to the image that are not straight: led by the gradient, and through ever less blur."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.explain.baselines import blur_matrix
from xaicli.explain.block import Block, Scored
from xaicli.explain.quantity import score
from xaicli.explain.turns import gradients_along, gradients_in_turn
from xaicli.run.plan import forwards

SHARPEST = 50 / 224  # the blur that an image begins with, of its longer side (50 pixels in Xu et al., 2020)


@dataclass(frozen=True)
class Walk:
    """The sum of gradient times step along a path, and the quantity where it began."""

    attribution: Tensor  # [n, C, H, W]
    start_score: Tensor  # [n]


@forwards(lambda steps: steps + 1)
def guided_path(
    block: Block,
    prediction: Scored,
    baseline_image: Tensor,
    *,
    steps: int = 50,
    fraction: float = 0.25,
    spread: float = 0.02,
) -> Walk:
    """A path whose every step moves the values of smallest gradient first, within a band around the straight path."""
    image, start = (part.flatten(1).double() for part in (block.images, baseline_image))
    here, total = start.clone(), torch.zeros_like(start)

    def points(rows: Tensor) -> Tensor:
        return here[rows].to(block.images).view(-1, *block.images.shape[1:])

    for step, rows, part in gradients_along(block, prediction.target, prediction.against, steps, points):
        gradient = part.flatten(1).double()
        there = guided_step(
            here[rows], image[rows], start[rows], gradient, at=(step + 1) / steps, fraction=fraction, spread=spread
        )
        total[rows] += (there - here[rows]) * gradient
        here[rows] = there
    logits = block.calls.logits(baseline_image)
    start_score = score(logits, prediction.target, prediction.against, block.quantity)
    return Walk(total.to(block.images).view_as(block.images), start_score)


def guided_step(
    here: Tensor, image: Tensor, start: Tensor, gradient: Tensor, *, at: float, fraction: float, spread: float
) -> Tensor:
    """Where rows [m, D] stand once the share `at` of their whole distance to the image (in l1) is behind them.

    The `fraction` of the values with the smallest gradients moves first, as far as the band of half-width `spread`
    allows, then the next: the loop of the authors' code.
    """
    difference = image - start
    lowest = start + max(at - spread, 0.0) * difference
    highest = torch.lerp(start, image, min(at + spread, 1.0))
    here = torch.where((here - start).abs() < (lowest - start).abs(), lowest, here)
    whole = difference.abs().sum(1)
    first = math.floor((here.shape[1] - 1) * fraction) + 1
    for _ in range(math.ceil(here.shape[1] / first) + 1):
        ahead = (here - image).abs().sum(1) - (1 - at) * whole
        open_rows = ahead > 1e-9 * whole
        if not open_rows.any():
            break
        movable = here != highest
        size = torch.where(movable, gradient.abs(), float("inf"))
        chosen = movable & (size <= size.kthvalue(first, dim=1, keepdim=True).values)
        room = ((highest - here).abs() * chosen).sum(1)
        share = (ahead / room).clamp(max=1).unsqueeze(1)
        moved = torch.where(share == 1, highest, here + share * (highest - here))
        here = torch.where(chosen & open_rows.unsqueeze(1), moved, here)
    return here


@forwards(lambda steps: steps + 1)
def blur_path(block: Block, prediction: Scored, *, steps: int = 50, sigma: float | None = None) -> Walk:
    """From the image blurred by `sigma` to the image, in equal steps of the width; gradients half-way in each step."""
    images = block.images
    width = SHARPEST * max(images.shape[2:]) if sigma is None else sigma

    def widths(turn: float) -> float:
        return width * (1 - turn / steps)

    def points(rows: Tensor, turns: Tensor) -> Tensor:
        wanted = sorted(set(turns.tolist()))
        return torch.cat([_blurred(images[rows[turns == turn]], widths(turn + 0.5)) for turn in wanted])

    start = _blurred(images, width)
    level, total = start.clone(), torch.zeros_like(images)
    for turn, rows, part in gradients_in_turn(block, prediction.target, prediction.against, steps, points):
        sharper = _blurred(images[rows], widths(turn + 1))
        # the step itself instead of its derivative: what is summed is exact on a linear network
        total[rows] += part * (sharper - level[rows])
        level[rows] = sharper
    start_score = score(block.calls.logits(start), prediction.target, prediction.against, block.quantity)
    return Walk(total, start_score)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur as two small matrix products, image by image: its bits do not depend on how many there are."""
    down, across = (blur_matrix(side, sigma).to(images) for side in images.shape[2:])
    return torch.stack([down @ image @ across.T for image in images])


QUERIES = (guided_path, blur_path)
