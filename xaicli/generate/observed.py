"""What a model makes of training images, seen once a run: statistics, class means, and the extremes of an objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError
from xaicli.files.columns import Status
from xaicli.generate.objectives import Response
from xaicli.generate.statistics import Statistics, measure
from xaicli.run.calls import Answer, Calls
from xaicli.run.inputs import Inputs
from xaicli.run.progress import Progress
from xaicli.run.random import generator

READ_ROWS = 256
EXTREMES = 3


@dataclass(frozen=True, eq=False)
class Observed:
    """Some training images. All numbers are float64."""

    statistics: Statistics
    index: npt.NDArray[np.int64]  # [n], rows in the training split
    labels: npt.NDArray[np.int64]
    logits: Tensor  # [n, K]
    pooled: Tensor  # [n, D], one number a channel; D is 0 where no layer was asked for

    def means(self, classes: Sequence[int]) -> Tensor:
        """Where each class's images lie from the mean of all, [classes, D]."""
        missing = [label for label in classes if not (self.labels == label).any()]
        if missing:
            raise InputError(
                f"none of the {len(self.labels)} training images looked at is of class {missing[0]}; raise samples=, "
                "or leave the class out."
            )
        labels = torch.as_tensor(self.labels).to(self.pooled.device)
        return torch.stack([self.pooled[labels == label].mean(0) for label in classes]) - self.pooled.mean(0)

    def extremes(self, values: Tensor) -> dict[str, npt.NDArray[Any]]:
        """The images of the highest values [n] and of the lowest, most extreme first, as the columns of a row.

        Where there are fewer than three images, the last is repeated.
        """
        found = values.cpu().numpy()
        order = np.argsort(-found, kind="stable")
        turn = np.minimum(np.arange(EXTREMES), len(order) - 1)
        both = {"top": order[turn], "bottom": order[::-1][turn]}
        rows = {name: self.index[places].astype(np.uint64) for name, places in both.items()}
        return rows | {f"{name}_value": found[places].astype(np.float32) for name, places in both.items()}


def observe(training: Dataset, samples: int, calls: Calls, response: Response | None) -> Observed:
    """The first readable images of a permutation that is fixed per data set: fewer are a subset of more.

    response: which layer's channels to note, and how their places are pooled. No forward of any row.
    """
    order = np.sort(generator(0, f"background:{training.name}").permutation(len(training))[:samples])
    inputs, asking = Inputs(training, order), calls.apart()

    def ask(images: Tensor) -> Answer:
        if response is None:
            return calls.classifier(images), images.new_empty(len(images), 0)
        logits, maps = response.inside.of(calls, images)
        return logits, response.pooled(maps)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(inputs), READ_ROWS):
            rows = inputs.load(start, min(start + READ_ROWS, len(inputs)))
            yield torch.as_tensor(rows.pixels[rows.status == Status.OK])

    if response is not None:
        response.inside.width(calls)  # refuses what has no such layer
    index, labels, answers = [], [], []
    with Progress(f"training images ({training.name}:{training.split})", len(inputs)) as progress, torch.no_grad():
        for start in range(0, len(inputs), READ_ROWS):
            rows = inputs.load(start, min(start + READ_ROWS, len(inputs)))
            usable = rows.status == Status.OK
            if usable.any():
                answers.append(asking.each(ask, torch.as_tensor(rows.pixels[usable]).to(calls.device, calls.dtype)))
                index.append(rows.index[usable])
                labels.append(rows.labels[usable])
            progress.advance(len(rows))
    if not index:
        raise InputError(f"the data '{training.name}:{training.split}' has no readable image; restore that data.")
    logits, pooled = (torch.cat(parts).double() for parts in zip(*answers, strict=True))
    return Observed(measure(batches), np.concatenate(index), np.concatenate(labels), logits, pooled)
