"""Paths to the image that are not straight: led by the gradient, and through ever less blur."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
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
    images = block.images
    start = baseline_image.flatten(1).double()
    difference = images.flatten(1).double() - start
    lengths = difference.abs()
    gone, total = torch.zeros_like(start), torch.zeros_like(start)  # gone: the share of its way behind each value

    def points(rows: Tensor) -> Tensor:
        return torch.addcmul(start[rows], gone[rows], difference[rows]).to(images).view(-1, *images.shape[1:])

    for step, rows, part in gradients_along(block, prediction.target, prediction.against, steps, points):
        gradient, at = part.flatten(1), (step + 1) / steps
        reached = guided_step(gone[rows], lengths[rows], gradient, at=at, fraction=fraction, spread=spread)
        total[rows].addcmul_(reached - gone[rows], gradient)
        gone[rows] = reached
    logits = block.calls.logits(baseline_image)
    start_score = score(logits, prediction.target, prediction.against, block.quantity)
    return Walk((total * difference).to(images).view_as(images), start_score)


def guided_step(
    gone: Tensor, lengths: Tensor, gradient: Tensor, *, at: float, fraction: float, spread: float
) -> Tensor:
    """How much of each value's way is behind it [m, D] once the share `at` of a row's whole way (in l1) is.

    The `fraction` of the values with the smallest gradients moves first, as far as the band of half-width `spread`
    allows, then the next: the loop of the authors' code, whose groups are read off one sorted list. gone: the shares
    until now. lengths: the values' whole ways.
    """
    lowest, highest = max(at - spread, 0.0), min(at + spread, 1.0)
    gone = gone.clamp_min(lowest)
    room = lengths * (highest - gone)
    whole = lengths.sum(1, keepdim=True)
    left = at * whole - torch.linalg.vecdot(gone, lengths).unsqueeze(1)
    size = gradient.abs().masked_fill_(room == 0, torch.inf)
    ranked = _sorted(size)
    first = math.floor((gone.shape[1] - 1) * fraction) + 1
    open_rows = left > 1e-9 * whole
    # values up to the first bound go all the way, those up to the second `share` of it
    below = bound = torch.full_like(size[:, :1], -1)
    used, share, taken = torch.zeros_like(left), torch.zeros_like(left), torch.zeros_like(left, dtype=torch.int64)
    while open_rows.any():
        below = torch.where(open_rows, bound, below)
        bound = torch.where(open_rows, ranked.gather(1, (taken + first - 1).clamp_max(gone.shape[1] - 1)), bound)
        reach = torch.linalg.vecdot(room, (size <= bound).to(room)).unsqueeze(1)
        share = torch.where(open_rows, ((left - used) / (reach - used)).clamp(max=1), share)
        used = torch.where(open_rows, reach, used)
        taken = torch.searchsorted(ranked, bound, right=True).maximum(taken + first)  # NaN has no place
        open_rows = (left - used > 1e-9 * whole) & (taken < gone.shape[1])
    part = torch.maximum((size <= bound).to(room).mul_(share), (size <= below).to(room))
    return torch.lerp(gone, torch.full_like(gone, highest), part)


def _sorted(values: Tensor) -> Tensor:
    """Rows in ascending order; on a processor numpy takes a sixth of torch's time."""
    return torch.as_tensor(np.sort(values.numpy(), axis=1)) if values.device.type == "cpu" else values.sort(1).values


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
    """A Gaussian blur as two small matrix products for every channel, never one large one for all.

    So the bits of an image do not depend on how many there are.
    """
    down, across = (_matrix(side, sigma, images.dtype, images.device) for side in images.shape[2:])
    flat = images.flatten(0, 1)
    return (down.expand(len(flat), -1, -1) @ flat @ across.mT.expand(len(flat), -1, -1)).view_as(images)


@lru_cache(maxsize=8)  # a step's rows come in several batches
def _matrix(side: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return blur_matrix(side, sigma).to(device, dtype)


QUERIES = (guided_path, blur_path)
