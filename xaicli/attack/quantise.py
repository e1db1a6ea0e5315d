"""Attacked images as bytes: rounded toward the clean image, and judged once more as they are stored."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from xaicli.attack.engine import Attacked
from xaicli.attack.goal import as_judged, reached
from xaicli.attack.library.distance import distance
from xaicli.attack.norms import project
from xaicli.run.calls import Calls, evaluating

LEVELS = 255
SLACK = 1e-3  # of a level: a step of 8/255 in float32 may end just below its level, which is meant
TOLERANCE = 1e-6  # in pixel values, or as a share of a radius above 1: bytes / 255 are rounded themselves
LONGER = (1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0, 4.0)
"""Factors of the change. An attack stops just behind the border, and rounded toward the clean image the change may end
before it; a longer one, rounded in the same way and then in the same ball, does not."""


def to_levels(images: Tensor, clean: Tensor, norm: str, eps: float | None) -> Tensor:
    """Images [n, C, H, W] on the levels k/255, each value rounded toward the clean one, which lies on a level.

    A value that ends less than a thousandth below a level takes that level, where the radius allows it.
    """
    generous = _toward(images, clean, SLACK)
    if eps is None:
        return generous
    outside = _outside(generous, clean, norm, torch.full((len(images),), eps, dtype=torch.float64, device=clean.device))
    return torch.where(outside.view(-1, 1, 1, 1), _toward(images, clean, 0.0), generous)


def as_stored(done: Attacked, clean: Tensor, labels: Tensor, norm: str, eps: float | None, calls: Calls) -> Attacked:
    """The same outcome with images on levels: logits, success and distance are those of the rounded images."""
    images, logits = clean.clone(), done.logits.clone()
    open_rows = (done.images != clean).flatten(1).any(1) & done.logits.isfinite().all(1)
    kept = torch.zeros_like(done.success)
    radius = done.broken_at.nan_to_num(nan=torch.inf if eps is None else eps)
    for factor in LONGER:
        rows = (open_rows & ~kept).nonzero().flatten()
        if not len(rows):
            break
        rounded = _longer(done.images[rows], clean[rows], factor, norm, radius[rows])
        with evaluating(calls.classifier):
            said = calls.logits(rounded)
        goal = reached(said, labels[rows], done.target[rows])
        taken = goal | (factor == LONGER[0])  # what no factor breaks stays what it is, rounded
        images[rows[taken]], logits[rows[taken]] = rounded[taken], said[taken]
        kept[rows] = goal | ~done.success[rows]
    found = as_judged(done, done.clean_logits, logits, labels, eps)
    return replace(found, images=images, distance=distance(images - clean, norm))


def _longer(images: Tensor, clean: Tensor, factor: float, norm: str, radius: Tensor) -> Tensor:
    """The changes made longer, on levels, within each row's radius: cut off at the ball where they would leave it."""
    stretched = (clean + factor * (images - clean)).clamp(0, 1) if factor != 1 else images
    found = _toward(stretched, clean, SLACK)
    outside = _outside(found, clean, norm, radius)
    for eps in sorted(set(radius[outside].tolist())):
        rows = outside & (radius == eps)
        found[rows] = to_levels(project(stretched[rows], clean[rows], eps, norm), clean[rows], norm, eps)
    return found


def _outside(images: Tensor, clean: Tensor, norm: str, eps: Tensor) -> Tensor:
    return distance(images.double() - clean.double(), norm) > eps + TOLERANCE * eps.clamp(min=1)


def _toward(images: Tensor, clean: Tensor, slack: float) -> Tensor:
    level, centre = images.double() * LEVELS, clean.double() * LEVELS
    up = torch.floor(level + slack).clamp(min=centre.round())
    down = torch.ceil(level - slack).clamp(max=centre.round())
    rounded = torch.where(level > centre + slack, up, torch.where(level < centre - slack, down, centre.round()))
    return (rounded / LEVELS).to(images.dtype)
