"""Walks from one image to another along the order of a map: the responses of which curves are made."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.explain.quantity import score
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards
from xaicli.run.random import Stream


@dataclass(frozen=True)
class Walk:
    """Responses while pixels are replaced: `scores` [n, points] after `counts` [n, points] pixels."""

    counts: Tensor
    scores: Tensor


def shuffle(subject: Subject, stream: Stream) -> Tensor:
    """A seeded permutation of each row's pixels, [n, pixels]: the same for all explainers."""
    draws = stream.uniform(subject.images.shape[2:]).reshape(len(subject.images), -1)
    return torch.as_tensor(np.argsort(draws, axis=1, kind="stable")).to(subject.images.device)


def order(attribution: Tensor, shuffle: Tensor) -> Tensor:
    """Pixels from the most to the least relevant, [n, pixels]; ties are broken by the permutation."""
    ranked = attribution.flatten(1).gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    return shuffle.gather(1, ranked)


def _interior(steps: int, size: int) -> int:
    return min(steps, size) - 1


@forwards(lambda steps, size: _interior(steps, size))
def removal(
    subject: Subject,
    order: Tensor,
    baseline_image: Tensor,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: int = 100,
    quantity: str = "probability",
) -> Walk:
    """Most relevant pixels replaced by the baseline first, in equal steps; the ends are the image and the baseline."""
    ends = (subject.images, image_score), (baseline_image, baseline_score)
    return _from_end_to_end(subject, order, *ends, steps, quantity)


@forwards(lambda steps, size: _interior(steps, size))
def insertion_walk(
    subject: Subject,
    order: Tensor,
    baseline_image: Tensor,
    image_score: Tensor,
    baseline_score: Tensor,
    *,
    steps: int = 100,
    quantity: str = "probability",
) -> Walk:
    """Most relevant pixels put onto the baseline first, in equal steps; the ends are the baseline and the image."""
    ends = (baseline_image, baseline_score), (subject.images, image_score)
    return _from_end_to_end(subject, order, *ends, steps, quantity)


@forwards(lambda steps, size: steps or size)
def positive_removal(
    subject: Subject,
    attribution: Tensor,
    order: Tensor,
    baseline_image: Tensor,
    image_score: Tensor,
    *,
    steps: int | None = 50,
    quantity: str = "logit",
) -> Walk:
    """Pixels of positive attribution replaced by the baseline, at equal shares of their mass, or one by one."""
    positive = attribution.flatten(1).clamp_min(0).gather(1, order)
    total = (positive > 0).sum(1, keepdim=True)
    if steps is None:
        counts = torch.arange(max(int(total.max()), 1) + 1, device=order.device).minimum(total)
    else:
        mass = positive.double().cumsum(1)
        mass = mass / mass[:, -1:].clamp_min(torch.finfo(torch.float64).tiny)
        shares = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=order.device)
        counts = 1 + torch.searchsorted(mass, shares.expand(len(mass), -1).contiguous() - 1e-12)
        counts[:, 0] = 0
        counts[:, -1] = total[:, 0]
        counts = torch.minimum(counts, total)
    inner = walk(subject, order, subject.images, baseline_image, counts[:, 1:], quantity)
    return Walk(counts, torch.cat([image_score[:, None], inner], dim=1))


def walk(subject: Subject, order: Tensor, start: Tensor, end: Tensor, counts: Tensor, quantity: str) -> Tensor:
    """The quantity when the first `counts` [n, points] pixels of `order` of `start` are replaced by those of `end`.

    A count that a row repeats is asked about once.
    """
    if counts.shape[1] == 0:
        return start.new_zeros((len(start), 0))
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    rank = rank.to(start).view(len(start), *start.shape[2:])  # whole numbers, far below 2^24
    fresh = torch.ones_like(counts, dtype=torch.bool)
    fresh[:, 1:] = counts[:, 1:] != counts[:, :-1]
    rows, points = fresh.nonzero(as_tuple=True)
    limits = counts[rows, points].to(start).view(-1, 1, 1, 1)

    def build(items: Tensor) -> Answer:
        images = start.new_empty((len(items), *start.shape[1:]))
        limit, done = limits.index_select(0, items), 0
        for row, same in groupby(rows[items].tolist()):  # all points of a row at once
            stop = done + len(list(same))
            replaced = (limit[done:stop] - rank[row]).clamp_(0, 1)  # 1 where rank < limit, else 0
            torch.lerp(start[row], end[row], replaced, out=images[done:stop])  # exact at 0 and 1, faster than where
            done = stop
        return (images,)

    with torch.no_grad():
        calls = subject.calls
        parts = [part for _, (part,) in calls.over(len(rows), build, lambda images: (calls.classifier(images),))]
    asked = score(torch.cat(parts), subject.target[rows], subject.against[rows], quantity)
    place = fresh.flatten().cumsum(0).view_as(fresh) - 1
    return asked[place]


def _from_end_to_end(
    subject: Subject, order: Tensor, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor], steps: int, quantity: str
) -> Walk:
    """From one image with its score to another, step k at round(k*pixels/K) replaced pixels, the same for every row."""
    pixels = order.shape[1]
    points = np.rint(np.linspace(0, pixels, min(steps, pixels) + 1)).astype(np.int64)
    counts = torch.as_tensor(points, device=order.device).expand(len(order), -1)
    inner = walk(subject, order, start[0], end[0], counts[:, 1:-1], quantity)
    return Walk(counts, torch.cat([start[1][:, None], inner, end[1][:, None]], dim=1))


QUERIES = (shuffle, order, removal, insertion_walk, positive_removal)
