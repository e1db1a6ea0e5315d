"""What is left of the explained class when an image is seen through its map."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaicli.evaluate.again import Explainers
from xaicli.evaluate.asked import Subject
from xaicli.explain.quantity import score
from xaicli.run.plan import forwards


@dataclass(frozen=True)
class Masked:
    """The model's answer to the image times the map."""

    logits: Tensor  # [n, K]
    defined: Tensor  # bool [n], false where there is no mask


@dataclass(frozen=True)
class Window:
    """A map as what an image is multiplied by."""

    weights: Tensor  # [n, H, W], from 0 to 1
    defined: Tensor  # bool [n], false without a positive pixel, or a range to scale a soft mask to


def window(attribution: Tensor, *, mask: str = "soft") -> Window:
    """The map's positive part as a mask."""
    positive = attribution.clamp_min(0)
    high = positive.amax((1, 2), keepdim=True)
    low = positive.amin((1, 2), keepdim=True) if mask == "soft" else torch.zeros_like(high)
    defined = high > low
    span = torch.where(defined, high - low, 1)
    weights = (positive - low) / span if mask == "soft" else (positive > 0).to(positive)
    return Window(weights, defined.flatten())


@forwards(1)
def masked(subject: Subject, window: Window) -> Masked:
    """The image seen through its map."""
    return Masked(subject.calls.logits(subject.images * window.weights[:, None]), window.defined)


@forwards(lambda own: own())
def map_through_window(subject: Subject, explainers: Explainers, explainer: int, window: Window) -> Tensor:
    """The explainer's map of the image seen through its map, [n, H, W]."""
    seen = replace(subject, images=subject.images * window.weights[:, None])
    ((_, maps),) = explainers.reduced(seen, only=explainer)
    return maps


def masked_score(subject: Subject, masked: Masked) -> Tensor:
    """The explained class's probability on the image times the map, [n]; NaN where it is undefined."""
    seen = score(masked.logits, subject.target, subject.against, "probability")
    return torch.where(masked.defined, seen, torch.nan)


QUERIES = (window, masked, map_through_window, masked_score)
