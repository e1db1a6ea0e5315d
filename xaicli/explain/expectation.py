"""Gradients between the image and images of the training data, one random point on one random path after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored
from xaicli.explain.quantity import score
from xaicli.explain.turns import Moments, gradients_in_turn
from xaicli.run.plan import forwards
from xaicli.run.random import Stream


@dataclass(frozen=True)
class Expectation:
    """An average over random paths, how far it may be off, and the quantity's mean over the background."""

    attribution: Tensor  # [n, C, H, W]
    standard_error: Tensor  # [n, C, H, W], NaN for one sample
    background_score: Tensor  # float64 [n], over all background images, drawn or not


@forwards(lambda samples: samples)
def background_gradients(
    block: Block, prediction: Scored, stream: Stream, *, samples: int = 50, background: int = 100
) -> Expectation:
    """Mean of (x - b) * gradient at b + a (x - b), for background images b and a in [0, 1) drawn independently.

    The logits on the background images are asked once a run.
    """
    images, training = block.images, block.background(background)
    draws = stream.uniform((samples, 2)).astype(np.float64)
    chosen = torch.as_tensor(draws[..., 0] * len(training)).long().to(images.device)
    places = torch.as_tensor(draws[..., 1]).to(images)

    def points(rows: Tensor, turns: Tensor) -> Tensor:
        at = places[rows, turns].view(-1, 1, 1, 1)
        return torch.lerp(training[chosen[rows, turns]], images[rows], at)

    moments = Moments(images, samples)
    for turn, rows, part in gradients_in_turn(block, prediction.target, prediction.against, samples, points):
        moments.add(turn, rows, part * (images[rows] - training[chosen[rows, turn]]))
    at_background = _mean_score(block, prediction, block.background.logits(background, block.calls))
    return Expectation(moments.mean, moments.standard_error, at_background)


def _mean_score(block: Block, prediction: Scored, logits: Tensor) -> Tensor:
    """The mean of each row's quantity over common logits [m, K]; row by row, for K may be large."""
    ones = torch.ones(len(logits), dtype=torch.int64, device=logits.device)
    pairs = zip(prediction.target, prediction.against, strict=True)
    means = [score(logits, target * ones, against * ones, block.quantity).double().mean() for target, against in pairs]
    return torch.stack(means)


QUERIES = (background_gradients,)
