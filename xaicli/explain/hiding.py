"""What the model says of an image when parts of it are hidden: the images are built batch by batch and never kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored
from xaicli.explain.quantity import score
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards

Perturb = Callable[[int, Tensor], Tensor]  # row, numbers of its perturbed images [k] -> the images [k, C, H, W]


@dataclass(frozen=True)
class Coalitions:
    """The quantity when only some superpixels are seen."""

    present: Tensor  # bool [n, samples, S]
    scores: Tensor  # [n, samples]


def responses(block: Block, prediction: Scored, count: int, perturb: Perturb) -> Tensor:
    """The quantity of `count` perturbed images of every row, [n, count]."""
    calls, rows = block.calls, len(block.images)

    def build(items: Tensor) -> Answer:
        owners, numbers = items // count, items % count
        images = [perturb(row, numbers[part]) for row, part in _runs(owners)]
        whole = images[0] if len(images) == 1 else torch.cat(images)
        return whole, prediction.target[owners], prediction.against[owners]

    def ask(images: Tensor, target: Tensor, against: Tensor) -> Answer:
        return (score(calls.classifier(images), target, against, block.quantity),)

    with torch.no_grad():
        parts = [part for _, (part,) in calls.over(rows * count, build, ask)]
    return torch.cat(parts).view(rows, count) if parts else prediction.score.new_zeros((rows, 0))


def _runs(rows: Tensor) -> Iterator[tuple[int, slice]]:
    """Neighbours of the same row."""
    done = 0
    for row, same in groupby(rows.tolist()):
        end = done + len(list(same))
        yield row, slice(done, end)
        done = end


def coalition_scores(block: Block, prediction: Scored, labels: Tensor, hidden: Tensor, present: Tensor) -> Tensor:
    """The quantity when the superpixels outside `present` [n, samples, S] look as in `hidden`, [n, samples]."""
    images, places = block.images, labels.flatten(1)

    def perturb(row: int, numbers: Tensor) -> Tensor:
        shown = present[row, numbers].to(images).index_select(1, places[row])
        # exact at 0 and 1, and faster than where
        return torch.lerp(hidden[row], images[row], shown.view(-1, 1, *images.shape[2:]))

    return responses(block, prediction, present.shape[1], perturb)


@forwards(1)
def hidden_score(block: Block, prediction: Scored, baseline_image: Tensor) -> Tensor:
    """The quantity when everything is hidden, [n]."""
    return score(block.calls.logits(baseline_image), prediction.target, prediction.against, block.quantity)


QUERIES = (hidden_score,)
