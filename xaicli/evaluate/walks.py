"""Walks from one image to another along the order of a map: the responses of which curves are made."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.paths import Fill, Ranks, kept, removed
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards


@dataclass(frozen=True)
class Walk:
    """What the model says while cells are replaced; metrics that look at different quantities share it."""

    subject: Subject
    counts: Tensor  # int64 [n, points], cells replaced so far
    shares: Tensor  # float64 [n, points], the share of the way that this is
    logits: Tensor  # [n, points, K]

    def scores(self, quantity: str) -> Tensor:
        """A quantity of the classes explained at every point, [n, points]."""
        return self.subject.scored(self.logits, quantity)

    def right(self, labels: Tensor) -> Tensor:
        """1 where the true class has the largest logit, else 0; NaN for rows without one. Float64 [n, points]."""
        right = (self.logits.argmax(2) == labels[:, None]).double()
        return torch.where((labels < self.logits.shape[2])[:, None], right, torch.nan)


def fresh(counts: Tensor) -> Tensor:
    """The points [n, points] that differ from the one before."""
    found = torch.ones_like(counts, dtype=torch.bool)
    found[:, 1:] = counts[:, 1:] != counts[:, :-1]
    return found


def points(steps: int, size: int, grid: int | None, segments: int | None) -> int:
    """Steps of a walk over an image of so many pixels, with cells as `pieces` makes them."""
    return min(steps, size, segments or (grid * grid if grid else size))


def _interior(steps: int, size: int, grid: int | None, segments: int | None) -> int:
    return points(steps, size, grid, segments) - 1


@forwards(_interior)
def removal(
    subject: Subject,
    ranks: Ranks,
    baseline_image: Tensor,
    logits: Tensor,
    baseline_logits: Tensor,
    *,
    steps: int = 100,
    grid: int | None = None,
    segments: int | None = None,
    baseline: str = "black",
) -> Walk:
    """Most relevant cells replaced by the baseline first, in equal steps; the ends are the image and the baseline."""
    fill = removed(subject.images, ranks.places, baseline_image, baseline)
    return _from_end_to_end(
        subject, fill, ranks, (logits, baseline_logits), points(steps, _size(subject), grid, segments)
    )


@forwards(_interior)
def insertion_walk(
    subject: Subject,
    ranks: Ranks,
    baseline_image: Tensor,
    logits: Tensor,
    baseline_logits: Tensor,
    *,
    steps: int = 100,
    grid: int | None = None,
    segments: int | None = None,
    baseline: str = "black",
) -> Walk:
    """Most relevant cells put onto the baseline first, in equal steps; the ends are the baseline and the image.

    Backwards it is the walk that removes the least relevant cells first.
    """
    fill = kept(subject.images, ranks.places, baseline_image, baseline)
    return _from_end_to_end(
        subject, fill, ranks, (baseline_logits, logits), points(steps, _size(subject), grid, segments)
    )


def responses(subject: Subject, fill: Fill, counts: Tensor) -> Tensor:
    """Logits [n, points, K] of the images that `fill` makes of each row for its `counts` [n, points].

    A count that a row repeats is asked about once.
    """
    images, calls = subject.images, subject.calls
    if counts.shape[1] == 0:
        return images.new_zeros((len(images), 0, len(calls.classifier.class_names)))
    new = fresh(counts)
    rows, places = new.nonzero(as_tuple=True)
    limits = counts[rows, places].to(images).view(-1, 1, 1, 1)

    def build(items: Tensor) -> Answer:
        batch = images.new_empty((len(items), *images.shape[1:]))
        limit, done = limits.index_select(0, items), 0
        for row, same in groupby(rows[items].tolist()):  # all points of a row at once
            stop = done + len(list(same))
            fill(row, limit[done:stop], batch[done:stop])
            done = stop
        return (batch,)

    with torch.no_grad():
        parts = [part for _, (part,) in calls.over(len(rows), build, lambda batch: (calls.classifier(batch),))]
    asked = torch.cat(parts)
    if len(rows) < counts.numel():
        asked = asked[new.flatten().cumsum(0) - 1]
    return asked.view(*counts.shape, -1)


def _size(subject: Subject) -> int:
    height, width = subject.images.shape[2:]
    return height * width


def _from_end_to_end(subject: Subject, fill: Fill, ranks: Ranks, ends: tuple[Tensor, Tensor], steps: int) -> Walk:
    """Step k of K is at round(k*cells/K) replaced cells; `ends` are the logits [n, K] of the first and the last."""
    found = np.rint(np.stack([np.linspace(0, cells, steps + 1) for cells in ranks.cells.tolist()])).astype(np.int64)
    counts = torch.as_tensor(found, device=ranks.cells.device)
    inner = responses(subject, fill, counts[:, 1:-1])
    logits = torch.cat([ends[0][:, None], inner, ends[1][:, None]], dim=1)
    return Walk(subject, counts, counts.double() / counts[:, -1:].double(), logits)


QUERIES = (removal, insertion_walk)
