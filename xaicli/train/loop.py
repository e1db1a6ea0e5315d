"""The one training loop: draw, augment, step, measure on held-out data, keep the best epoch.

Everything random belongs to (seed, what, epoch or step), so that the same command gives the same weights, however often
it was interrupted: what a step changes is in `state.py`, and when that is saved in `savepoint.py`. Which rows a step
looks at is in `order.py`, what becomes of their losses in `way.py`; private training has its own of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xaicli.data.dataset import Dataset, to_float
from xaicli.errors import InputError
from xaicli.models.classifier import Classifier
from xaicli.run.progress import Progress, warn
from xaicli.run.random import Stream
from xaicli.specs import Spec
from xaicli.train.batch import Batch, Loss, augment
from xaicli.train.judge import Judge
from xaicli.train.order import Shuffled
from xaicli.train.savepoint import Savepoint
from xaicli.train.state import Training
from xaicli.train.watchdog import Watchdog
from xaicli.train.way import Mean, Way

Recipe = Callable[..., Loss]
Moments = tuple[tuple[float, ...], tuple[float, ...]]
CACHE_BYTES = 2 << 30  # a data set that is smaller as uint8 is read once


@dataclass(frozen=True)
class Schedule:
    """How long, in what pieces and in what precision to train."""

    epochs: int
    batch_size: int
    physical_batch: int
    seed: int
    precision: str = "float32"

    def shuffled(self, rows: int, options: Mapping[str, Any]) -> Shuffled:
        """The order of ordinary training over this many rows, each batch as often as the recipe's `replays` say."""
        return Shuffled(rows, self.batch_size, self.epochs, self.seed, int(options.get("replays", 1)))


def train_model(
    classifier: Classifier,
    pixels: Pixels,
    judge: Judge,
    recipe: Spec,
    schedule: Schedule,
    text: str,
    savepoint: Savepoint | None = None,
    watchdog: Watchdog | None = None,
    way: Way | None = None,
) -> Training:
    """Train in place by a recipe, from the savepoint on; select the epoch by `judge` on held-out data.

    watchdog: puts back the state before an epoch in which robustness collapsed. way: of drawing batches and of
    collecting gradients, if not the ordinary one. Raises InputError when the training diverges, and StoppedError, with
    the progress saved, when the command is to stop.
    """
    options: dict[str, Any] = recipe.options
    loss_of: Recipe = recipe.method.load()
    way = way or Way(schedule.shuffled(len(pixels.dataset), options), Mean(classifier, schedule.precision))
    order, gradients = way.order, way.gradients
    training = Training.begin(classifier, options, order.steps, order.largest)
    savepoint = savepoint or Savepoint()
    savepoint.restore(training, order.epochs)
    with Progress(text, order.steps, "steps") as progress:
        progress.advance(order.before(training.epoch) + training.step)
        for epoch in range(training.epoch, order.epochs + 1):
            gradients.begin()
            for positions in order.batches(epoch, training.step):
                savepoint.at_step(training)
                training.optimizer.zero_grad(set_to_none=True)
                number = order.before(epoch) + training.step
                for batch in _pieces(pixels, positions, way, schedule, training, options):
                    share = len(batch.labels) / (len(positions) * gradients.copies)
                    training.count(gradients.add(loss_of(batch, **options), share), len(batch.labels))
                gradients.finish(number)
                training.update()
                progress.advance()
            with savepoint.judging(training):
                figures = judge.figures(training.judged)
                watched = watchdog.accuracy(classifier) if watchdog else None
            rank = () if way.keep_last else judge.rank(figures)
            told = gradients.told(training.losses, order.before(epoch) + training.step)
            training.close_epoch({**told, **figures}, rank, watched)
            savepoint.at_epoch(training)
            last = training.history[-1]
            if "rolled_back" in last:
                warn(f"epoch {epoch} has lost its robustness ({watched:.0%} under PGD-5): the state before it is back.")
            shown = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if name not in ("epoch", "lr"))
            progress.advance(0, f"{text} epoch {epoch}/{order.epochs}: {shown}")
    return training


class Pixels:
    """The training images; those that fit are read once and kept as they are stored."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        size = len(dataset) * math.prod(dataset.shape)
        self._cache = self._read(np.arange(len(dataset))) if size <= CACHE_BYTES else None

    def __getitem__(self, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return to_float(self._cache[positions] if self._cache is not None else self._read(positions))

    def moments(self) -> Moments:
        """Mean and standard deviation of each channel over (at most 10,000 of) the images."""
        chosen = np.arange(len(self.dataset))[:: max(len(self.dataset) // 10_000, 1)]
        values = self[chosen].astype(np.float64)
        mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3))
        return tuple(float(m) for m in mean), tuple(float(max(s, 1e-3)) for s in std)

    def _read(self, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        images = self.dataset.read(positions)
        if not images.readable.all():
            bad = self.dataset.key(int(positions[int(np.argmin(images.readable))]))
            raise InputError(f"the training image '{bad}' cannot be read; mend or remove it.")
        return images.pixels


def _pieces(
    pixels: Pixels,
    positions: NDArray[np.int64],
    way: Way,
    schedule: Schedule,
    training: Training,
    options: Mapping[str, Any],
) -> Iterator[Batch]:
    """The rows of one step in pieces that fit into memory; copies of a row lie together, each with its own numbers."""
    dataset, device, copies = pixels.dataset, training.device, way.gradients.copies
    done = (way.order.before(training.epoch) + training.step) / way.order.steps
    for first in range(0, len(positions), rows := max(schedule.physical_batch // copies, 1)):
        some = positions[first : first + rows]
        index = (dataset.index[some][:, None] * copies + np.arange(copies)).ravel()
        stream = Stream(schedule.seed, f"train:{training.epoch}", tuple(index.tolist()))
        images = torch.as_tensor(pixels[some]).to(device).repeat_interleave(copies, 0)
        yield Batch(
            way.gradients.model,
            augment(images, options["augment"], stream),
            torch.as_tensor(dataset.labels[some]).to(device).repeat_interleave(copies, 0),
            stream,
            done,
            training.rollbacks,
            len(dataset),
            training.kept[first : first + len(some)] if training.kept is not None else None,
        )
