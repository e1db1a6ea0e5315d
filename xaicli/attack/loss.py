"""The losses that attacks raise, one value a sample, and their slopes in the logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From logits [n, K], true classes [n] and the classes [n] a try is about to values [n] and slopes [n, K]."""

DLR_TINY = 1e-12  # of the official code
DLR_CLASSES = 4  # fewer have no targeted difference of logits ratio


@torch.no_grad()
def log_odds(logits: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """Log odds against class `aim` [n], the logsumexp of all other logits less its own, and their slope [n, K].

    The cross-entropy is softplus of this, so both have the same direction of steepest ascent and order points alike;
    but the cross-entropy's gradient loses its digits where the class is nearly certain, and vanishes beyond.
    """
    column = aim.unsqueeze(1)
    others = logits.scatter(1, column, float("-inf"))
    shares = others.log_softmax(1)
    # the logsumexp is what log_softmax took off, seen where it is exact: at the largest
    total = others.amax(1) - shares.amax(1)
    return total - logits.gather(1, column).squeeze(1), shares.exp_().scatter_(1, column, -1.0)


def away(logits: Tensor, labels: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """The log odds against the class that the try is about: the cross-entropy's direction."""
    return log_odds(logits, aim)


def towards_class(logits: Tensor, labels: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """The log odds for the class that the try is about."""
    loss, slope = log_odds(logits, aim)
    return -loss, -slope


@torch.no_grad()
def margin(logits: Tensor, labels: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """The largest other logit less the true class's: positive where a sample is broken."""
    return _quotient(logits, torch.stack([_other(logits, labels), labels], 1))


@torch.no_grad()
def aimed_margin(logits: Tensor, labels: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """The logit of the class to be reached less the true class's."""
    return _quotient(logits, torch.stack([aim, labels], 1))


@torch.no_grad()
def dlr(logits: Tensor, labels: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """Difference of logits ratio (Croce and Hein, 2020): the margin over the gap of the first to the third logit.

    The margin alone where there are fewer than four classes, of which the targeted form needs all.
    """
    pair = torch.stack([_other(logits, labels), labels], 1)
    if logits.shape[1] < DLR_CLASSES:
        return _quotient(logits, pair)
    return _quotient(logits, pair, logits.topk(3).indices[:, [0, 2]], (1.0, -1.0))


@torch.no_grad()
def aimed_dlr(logits: Tensor, labels: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """Its targeted form: towards class `aim`, over the gap of the first to the mean of third and fourth logit."""
    pair = torch.stack([aim, labels], 1)
    if logits.shape[1] < DLR_CLASSES:
        return _quotient(logits, pair)
    return _quotient(logits, pair, logits.topk(4).indices[:, [0, 2, 3]], (1.0, -0.5, -0.5))


def _other(logits: Tensor, labels: Tensor) -> Tensor:
    """The likeliest class but the true one."""
    return logits.scatter(1, labels.unsqueeze(1), float("-inf")).argmax(1)


def _quotient(
    logits: Tensor, pair: Tensor, under: Tensor | None = None, weights: tuple[float, ...] = ()
) -> tuple[Tensor, Tensor]:
    """The difference of the logits `pair` [n, 2] over the weighted sum of those `under` [n, m], and its slope."""
    ends = logits.gather(1, pair)
    over = ends[:, 0] - ends[:, 1]
    signs = logits.new_tensor([1.0, -1.0]).expand_as(ends)
    slope = torch.zeros_like(logits)
    if under is None:
        return over, slope.scatter_add_(1, pair, signs)
    weight = logits.new_tensor(weights)
    below = (logits.gather(1, under) * weight).sum(1) + DLR_TINY
    slope.scatter_add_(1, pair, signs / below.unsqueeze(1))
    slope.scatter_add_(1, under, -(over / below.square()).unsqueeze(1) * weight)
    return over / below, slope
