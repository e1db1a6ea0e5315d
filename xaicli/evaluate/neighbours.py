"""The training rows nearest to an image, as pixels and as the model's features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from xaicli.data.dataset import UNKNOWN, Dataset
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.scores import Scores, reports
from xaicli.files.columns import Status
from xaicli.run.calls import Calls
from xaicli.run.features import Training
from xaicli.run.inputs import Inputs
from xaicli.run.plan import forwards
from xaicli.run.random import Stream
from xaicli.signatures import Count

_PIECE = 256  # training rows that are held at once
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, eq=False)
class Piece:
    """Some training rows: their numbers int64 [m], labels int64 [m] and values [m, ...]."""

    index: Tensor
    labels: Tensor
    values: Tensor


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The root: what a checkpoint was trained on. Called, it goes through the readable images once more.

    features: what the model makes of them, found once a run. numbered: whether the rows that are judged are numbered as
    these are, so that a row is not its own neighbour.
    """

    images: Callable[[], Iterator[Piece]]
    features: Callable[[Calls], Training]
    numbered: bool = False

    def __call__(self) -> Iterator[Piece]:
        """The images in pieces, [m, C, H, W] in [0, 1]."""
        return self.images()


def read_pieces(training: Dataset) -> Iterator[Piece]:
    """All readable images of a data set."""
    inputs = Inputs(training, np.arange(len(training)))
    for rows in inputs.pieces():
        kept = rows.status == Status.OK
        yield Piece(*(torch.as_tensor(part[kept]) for part in (rows.index, rows.labels, rows.pixels)))


@dataclass(frozen=True)
class Neighbours:
    """The labels int64 [n, k] of the nearest training rows, the nearest first; -1 where there are not so many."""

    by_pixels: Tensor
    by_features: Tensor


@forwards(1)
def training_neighbours(
    subject: Subject, training: TrainingRows, stream: Stream, *, neighbours: int = 10
) -> Neighbours:
    """The training rows of largest cosine; among equals the first."""
    calls, images = subject.calls, subject.images
    index = torch.tensor(stream.index, device=images.device)
    own = index if training.numbered else torch.full_like(index, -1)
    known = training.features(calls)
    features = zip(*(torch.split(part, _PIECE) for part in (known.index, known.labels, known.features)), strict=True)
    return Neighbours(
        nearest(images, own, training(), neighbours, calls.batch_size),
        nearest(calls.features(images)[1], own, (Piece(*parts) for parts in features), neighbours, calls.batch_size),
    )


def nearest(rows: Tensor, own: Tensor, pieces: Iterator[Piece], count: int, batch: int) -> Tensor:
    """Labels int64 [n, count] of the rows of largest cosine with each of `rows` [n, ...].

    own: each row's number among them, -1 for none. Rows are compared `batch` at a time, the last batch padded: a
    product's bits must not depend on how many rows are judged together.
    """
    total = len(rows)
    padded = torch.arange(-(-total // batch) * batch, device=rows.device).clamp_(max=total - 1)
    seen = normalize(rows.double().flatten(1), dim=1, eps=_TINY)[padded].view(-1, batch, rows[0].numel())
    best = seen.new_full((total, count), -torch.inf)
    labels = torch.full_like(best, -1, dtype=torch.int64)
    for piece in pieces:
        values = normalize(piece.values.to(rows.device).double().flatten(1), dim=1, eps=_TINY)
        cosine = torch.cat([part @ values.T for part in seen])[:total]
        cosine[own.unsqueeze(1) == piece.index.to(own)] = -torch.inf
        cosines = torch.cat([best, cosine], dim=1)
        best, order = cosines.sort(dim=1, descending=True, stable=True)
        best, order = best[:, :count], order[:, :count]
        found = torch.cat([labels, piece.labels.to(labels).expand(total, -1)], dim=1).gather(1, order)
        labels = torch.where(best > -torch.inf, found, -1)
    return labels


@reports(parts=("input",))
def class_consistency(training_neighbours: Neighbours, labels: Tensor, *, neighbours: Count = 10) -> Scores:
    """Share of the nearest training rows that are of the row's class, higher is better.

    The `neighbours` training rows of largest cosine in the space of the penultimate features; `class-consistency-input`
    is the same in the space of the pixels in [0, 1]. A property of model and data, from 0 to 1: how well the model
    gathers what belongs together. A row of the training data is not its own neighbour. The training images are read
    again for every block of rows. Undefined for rows without a true class; a model whose logits do not come from one
    linear layer has no such features.
    """
    by_features = _share(training_neighbours.by_features, labels)
    return Scores(by_features, {"input": _share(training_neighbours.by_pixels, labels)})


def _share(found: Tensor, labels: Tensor) -> Tensor:
    count = (found >= 0).sum(1)
    same = (found == labels.unsqueeze(1)).sum(1).double()
    return torch.where((labels < UNKNOWN) & (count > 0), same / count.clamp_min(1), torch.nan)


QUERIES = (training_neighbours,)
