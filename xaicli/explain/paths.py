"""The straight path from a baseline to the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xaicli.errors import UsageError
from xaicli.explain.baselines import RANDOM, make_baseline
from xaicli.explain.block import Block, Scored
from xaicli.explain.quantity import score
from xaicli.explain.turns import Moments, gradients_in_turn
from xaicli.run.plan import forwards
from xaicli.run.random import Stream

BACKGROUND = 100  # training images that baseline=data draws from


@dataclass(frozen=True)
class PathPass:
    """The gradient integrated along the path, times the difference of its ends; means over the trials."""

    attribution: Tensor  # [n, C, H, W]
    standard_error: Tensor  # [n, C, H, W], NaN for one trial
    baseline_score: Tensor  # [n], the quantity at the baseline
    steps: Tensor  # int64 [n], of the trial that needed most


def baselines(block: Block, stream: Stream, *, baseline: str = "black") -> Callable[[int], Tensor]:
    """The baseline of every trial, [n, C, H, W]; `data` draws one of 100 background images for each row."""

    def draw(trial: int) -> Tensor:
        if trial and baseline not in RANDOM:
            raise UsageError(
                f"baseline={baseline} is the same in every trial; leave trials out, or use {', '.join(RANDOM)}."
            )
        own = stream.fork(str(trial)) if trial else stream
        if baseline != "data":
            return make_baseline(baseline, block.images, own)
        images = block.background(BACKGROUND)
        return images[torch.as_tensor(own.uniform(()).astype(np.float64) * len(images)).long().to(images.device)]

    return draw


def baseline_image(baselines: Callable[[int], Tensor]) -> Tensor:
    """The image that stands for the absence of evidence, [n, C, H, W]."""
    return baselines(0)


def doublings(steps: int, tolerance: float | None, max_steps: int) -> list[int]:
    """The numbers of steps that are tried one after the other."""
    tried = [steps]
    while tolerance is not None and tried[-1] * 2 <= max_steps:
        tried.append(tried[-1] * 2)
    return tried


def _cost(steps: int, trials: int, tolerance: float | None, max_steps: int) -> int:
    """All doublings: what a row costs at most when a tolerance is set, and exactly otherwise."""
    return trials * (sum(doublings(steps, tolerance, max_steps)) + 1)


@forwards(_cost)
def path_pass(
    block: Block,
    prediction: Scored,
    baselines: Callable[[int], Tensor],
    *,
    steps: int = 50,
    trials: int = 1,
    tolerance: float | None = None,
    max_steps: int = 800,
) -> PathPass:
    """Gauss-Legendre integrals over straight paths; rows whose gap exceeds `tolerance` again with twice the steps."""
    images, everyone = block.images, slice(0, len(block.images))
    moments = Moments(images, trials)
    baseline_score = torch.zeros_like(prediction.score)
    most = torch.zeros_like(prediction.target)
    for trial in range(trials):
        baseline = baselines(trial)
        at_baseline = score(block.calls.logits(baseline), prediction.target, prediction.against, block.quantity)
        baseline_score += (at_baseline - baseline_score) / (trial + 1)
        drop = (prediction.score - at_baseline).double()
        attribution, rows = torch.zeros_like(images), torch.arange(len(images), device=images.device)
        for number in doublings(steps, tolerance, max_steps):
            if len(rows):
                attribution[rows] = straight_path(block, prediction, rows, baseline, number)
                most[rows] = most[rows].clamp_min(number)
            if tolerance is not None:
                gap = (attribution[rows].double().sum((1, 2, 3)) - drop[rows]).abs()
                rows = rows[gap > tolerance * drop[rows].abs()]
        moments.add(trial, everyone, attribution)
    return PathPass(moments.mean, moments.standard_error, baseline_score, most)


def straight_path(block: Block, prediction: Scored, rows: Tensor, baseline: Tensor, steps: int) -> Tensor:
    """Difference of image and baseline times the mean gradient between them, for these rows: [m, C, H, W]."""
    start = baseline[rows]
    difference = block.images[rows] - start
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places = torch.as_tensor((nodes + 1) / 2).to(start)
    shares = torch.as_tensor(weights / 2).to(start)

    def points(rows: Tensor, turns: Tensor) -> Tensor:
        at = places[turns].view(-1, 1, 1, 1)
        return (difference.index_select(0, rows) * at).add_(start.index_select(0, rows))

    total = torch.zeros_like(start)
    target, against = prediction.target[rows], prediction.against[rows]
    for turn, these, part in gradients_in_turn(block, target, against, steps, points):
        total[these] += shares[turn] * part
    return difference * total


@forwards(lambda steps: 2 * (steps + 1))
def black_and_white_pass(block: Block, prediction: Scored, *, steps: int = 50) -> PathPass:
    """The mean over the paths from black and from white: neither dark nor bright pixels are without a difference."""
    images, rows = block.images, torch.arange(len(block.images), device=block.images.device)
    moments, baseline_score = Moments(images, 2), torch.zeros_like(prediction.score)
    for turn, baseline in enumerate((torch.zeros_like(images), torch.ones_like(images))):
        logits = block.calls.logits(baseline)
        baseline_score += score(logits, prediction.target, prediction.against, block.quantity) / 2
        moments.add(turn, slice(0, len(images)), straight_path(block, prediction, rows, baseline, steps))
    return PathPass(moments.mean, moments.standard_error, baseline_score, torch.full_like(prediction.target, steps))


QUERIES = (baselines, baseline_image, path_pass, black_and_white_pass)
