"""Walks over the pixels of positive attribution alone, at equal shares of their mass."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.paths import Fill, Ranks, kept, removed
from xaicli.evaluate.walks import Walk, responses
from xaicli.run.plan import forwards


def rising_ranks(attribution: Tensor, ranks: Ranks) -> Ranks:
    """The order of pixels with the positive ones turned round: the least relevant of them is first."""
    last = (attribution > 0).sum((1, 2), keepdim=True).to(ranks.places) - 1
    return Ranks(torch.where(ranks.places <= last, last - ranks.places, ranks.places), ranks.cells)


@forwards(lambda steps, size: steps or size)
def positive_removal(
    subject: Subject,
    attribution: Tensor,
    ranks: Ranks,
    baseline_image: Tensor,
    logits: Tensor,
    *,
    steps: int | None = 50,
    baseline: str = "black",
) -> Walk:
    """The most relevant positive pixels replaced by the baseline first; all others stay."""
    fill = removed(subject.images, ranks.places, baseline_image, baseline)
    return _walk(subject, attribution, ranks, fill, logits, steps)


@forwards(lambda steps, size: steps or size)
def rising_removal(
    subject: Subject,
    attribution: Tensor,
    rising_ranks: Ranks,
    baseline_image: Tensor,
    logits: Tensor,
    *,
    steps: int | None = 50,
    baseline: str = "black",
) -> Walk:
    """The least relevant positive pixels replaced by the baseline first; all others stay."""
    fill = removed(subject.images, rising_ranks.places, baseline_image, baseline)
    return _walk(subject, attribution, rising_ranks, fill, logits, steps)


@forwards(lambda steps, size: steps or size)
def positive_insertion(
    subject: Subject,
    attribution: Tensor,
    ranks: Ranks,
    baseline_image: Tensor,
    baseline_logits: Tensor,
    *,
    steps: int | None = 50,
    baseline: str = "black",
) -> Walk:
    """The most relevant positive pixels put onto the baseline first; the others never are."""
    fill = kept(subject.images, ranks.places, baseline_image, baseline)
    return _walk(subject, attribution, ranks, fill, baseline_logits, steps)


@forwards(lambda steps, size: steps or size)
def rising_insertion(
    subject: Subject,
    attribution: Tensor,
    rising_ranks: Ranks,
    baseline_image: Tensor,
    baseline_logits: Tensor,
    *,
    steps: int | None = 50,
    baseline: str = "black",
) -> Walk:
    """The least relevant positive pixels put onto the baseline first; the others never are."""
    fill = kept(subject.images, rising_ranks.places, baseline_image, baseline)
    return _walk(subject, attribution, rising_ranks, fill, baseline_logits, steps)


def _walk(subject: Subject, attribution: Tensor, ranks: Ranks, fill: Fill, first: Tensor, steps: int | None) -> Walk:
    """At equal shares of the positive mass, or (steps None) pixel by pixel; `first` are the logits of the start."""
    positive = attribution.flatten(1).clamp_min(0)
    places = ranks.places.flatten(1).long()
    mass = torch.zeros_like(positive).scatter_(1, places, positive).double().cumsum(1)
    mass = mass / mass[:, -1:].clamp_min(torch.finfo(torch.float64).tiny)
    counts = _counts(mass, (positive > 0).sum(1, keepdim=True), steps)
    logits = torch.cat([first[:, None], responses(subject, fill, counts[:, 1:])], dim=1)
    shares = torch.cat([torch.zeros_like(mass[:, :1]), mass], dim=1).gather(1, counts)
    return Walk(subject, counts, shares, logits)


def _counts(mass: Tensor, total: Tensor, steps: int | None) -> Tensor:
    """Pixels replaced at every point, [n, points]; `mass` [n, pixels] is the running share, `total` [n, 1] the last."""
    if steps is None:
        return torch.arange(max(int(total.max()), 1) + 1, device=total.device).minimum(total)
    shares = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=mass.device)
    counts = 1 + torch.searchsorted(mass, shares.expand(len(mass), -1).contiguous() - 1e-12)
    counts[:, 0] = 0
    counts[:, -1] = total[:, 0]
    return torch.minimum(counts, total)


QUERIES = (rising_ranks, positive_removal, rising_removal, positive_insertion, rising_insertion)
