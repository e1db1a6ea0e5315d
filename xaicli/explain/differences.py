"""Image and baseline side by side through the canonical form of the network: DeepLIFT's multipliers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored
from xaicli.explain.quantity import score
from xaicli.explain.rescale import Pair, SideBySide, linear, maximum, rescale, softmax
from xaicli.explain.turns import Moments
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards


@dataclass(frozen=True)
class DifferencePass:
    """What every pixel contributes to the difference from the baseline, and the quantity at the baseline."""

    attribution: Tensor  # [n, C, H, W]
    standard_error: Tensor  # [n, C, H, W], NaN for one baseline
    baseline_score: Tensor  # float64 [n], the mean over the baselines


@forwards(2)
def difference_pass(block: Block, prediction: Scored, baseline_image: Tensor) -> DifferencePass:
    """One forward of the images, one of the baselines, and one backward of their differences."""
    return _mean_over(block, prediction, [baseline_image])


@forwards(lambda background: 2 * background)
def background_differences(block: Block, prediction: Scored, *, background: int = 20) -> DifferencePass:
    """The same for each of some background images, which begin again where there are not as many."""
    training = block.background(background)
    chosen = (training[number % len(training)] for number in range(background))
    return _mean_over(block, prediction, [image.expand_as(block.images) for image in chosen])


def _mean_over(block: Block, prediction: Scored, baselines: Sequence[Tensor]) -> DifferencePass:
    calls, classifier = block.calls, block.calls.classifier
    network = SideBySide(calls.canonical())

    def ask(images: Tensor, baselines: Tensor, target: Tensor, against: Tensor) -> Answer:
        images = images.detach().requires_grad_()
        normal = linear(
            operator.truediv, linear(operator.sub, Pair(images, baselines), classifier.mean), classifier.std
        )
        explained = score_pair(network.run(normal), target, against, block.quantity)
        (multipliers,) = torch.autograd.grad(explained.x.sum(), images)
        return (images.detach() - baselines) * multipliers, explained.b

    moments = Moments(block.images, len(baselines))
    total = torch.zeros_like(prediction.score, dtype=torch.float64)
    for turn, baseline in enumerate(baselines):
        found, at_baseline = calls.each(ask, block.images, baseline, prediction.target, prediction.against)
        calls.forwards += len(found)  # for the baselines
        moments.add(turn, slice(0, len(found)), found)
        total += at_baseline
    return DifferencePass(moments.mean, moments.standard_error, total / len(baselines))


def score_pair(logits: Pair, target: Tensor, against: Tensor, quantity: str) -> Pair:
    """The explained quantity of both sides; what is not linear in the logits follows the rules of any network."""
    found: Pair
    if quantity == "logit":
        found = linear(score, logits, target, against, quantity)
        return found
    chosen = torch.where(target < logits.b.shape[1], target, 0).unsqueeze(1)
    if quantity == "margin":
        mine = linear(torch.gather, logits, 1, chosen)
        others = linear(torch.scatter, logits, 1, chosen, torch.finfo(logits.b.dtype).min)
        at_x, at_b = (side.detach().argmax(1, keepdim=True) for side in (others.x, others.b))
        found = linear(operator.sub, mine, maximum(others, at_x, at_b))
    else:
        found = linear(torch.gather, softmax(logits, 1), 1, chosen)
    if quantity == "log-probability":
        found = rescale(torch.log, found)
    found = linear(torch.squeeze, found, 1)
    return found


QUERIES = (difference_pass, background_differences)
