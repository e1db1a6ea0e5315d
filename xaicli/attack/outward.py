"""Images that were broken at the very border, moved on within their ball to where the same networks err more.

An attack ends with the first point that breaks the networks it knows. Others drawn from the same posterior have their
borders nearby, but not there, and would find half of such points right again: what counts against them is how far a
change of the allowed size leads, not where it happened to stop.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from xaicli.attack.engine import Attacked
from xaicli.attack.goal import reached
from xaicli.attack.loss import log_odds
from xaicli.attack.norms import project, size
from xaicli.data.dataset import UNKNOWN
from xaicli.run.calls import Calls, evaluating

FACTORS = (1.25, 1.5, 2.0, 4.0)
"""Of the change, before it is cut off at the ball."""
NORMS = ("linf", "l2", "l1")


def outward(done: Attacked, clean: Tensor, labels: Tensor, norm: str, eps: float | None, calls: Calls) -> Attacked:
    """The same outcome, with the broken images at the point of highest loss of some in the same direction.

    calls: the attacked networks, which stay broken. Nothing changes without a radius, where small changes are the aim.
    """
    broken = done.success.nonzero().flatten()
    if eps is None or norm not in NORMS or not len(broken):
        return done
    radius, change = done.broken_at.nan_to_num(nan=eps), done.images - clean
    images, logits, loss = done.images.clone(), done.logits.clone(), _loss(done.logits, labels, done.target)
    for factor in FACTORS:
        points = project(clean + factor * change, clean, radius, norm)  # all rows: sums are split by their number
        with evaluating(calls.classifier):
            said = calls.logits(points[broken])
        found = _loss(said, labels[broken], done.target[broken])
        better = reached(said, labels[broken], done.target[broken]) & (found > loss[broken])
        rows = broken[better]
        images[rows], logits[rows], loss[rows] = points[rows], said[better], found[better]
    return replace(done, images=images, logits=logits, distance=size(images - clean, norm))


def _loss(logits: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """The log odds against the true class, or for the one aimed at, [n]."""
    aims = target != UNKNOWN
    known = torch.where(labels < logits.shape[1], labels, 0)  # rows without a label are never broken
    odds = log_odds(logits, torch.where(aims, target, known))[0]
    return torch.where(aims, -odds, odds)
