"""The one training loop: shuffle, augment, step, measure on held-out data, keep the best epoch.

Everything random belongs to (seed, what, epoch or step), so that the same command gives the same weights, however often
it was interrupted: what a step changes is in `state.py`, and when that is saved in `savepoint.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset, to_float
from xaicli.errors import InputError
from xaicli.methods import Spec
from xaicli.models.classifier import Classifier
from xaicli.run.progress import Progress, warn
from xaicli.run.random import Stream, generator
from xaicli.train.batch import Batch, augment
from xaicli.train.judge import Judge
from xaicli.train.precision import asked_in
from xaicli.train.savepoint import Savepoint
from xaicli.train.state import Training
from xaicli.train.watchdog import Watchdog

Recipe = Callable[..., Tensor]
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

    def batches(self, rows: int) -> int:
        """The batches of an epoch over this many rows."""
        return math.ceil(rows / self.batch_size)

    def steps(self, rows: int, options: Mapping[str, Any]) -> int:
        """The steps of an epoch over this many rows: one a batch, or as many as the recipe's `replays`."""
        return self.batches(rows) * int(options.get("replays", 1))


def train_model(
    classifier: Classifier,
    pixels: Pixels,
    judge: Judge,
    recipe: Spec,
    schedule: Schedule,
    text: str,
    savepoint: Savepoint | None = None,
    watchdog: Watchdog | None = None,
) -> Training:
    """Train in place by a recipe, from the savepoint on; select the epoch by `judge` on held-out data.

    watchdog: puts back the state before an epoch in which robustness collapsed. Raises InputError when it diverges,
    and StoppedError, with the progress saved, when the command is to stop.
    """
    options: dict[str, Any] = recipe.options
    loss_of: Recipe = recipe.method.load()
    rows = len(pixels.dataset)
    steps = schedule.steps(rows, options)
    training = Training.begin(classifier, options, schedule.epochs * steps, math.ceil(rows / schedule.batches(rows)))
    model = asked_in(schedule.precision, classifier)
    savepoint = savepoint or Savepoint()
    savepoint.restore(training)
    with Progress(text, schedule.epochs * steps, "steps") as progress:
        progress.advance((training.epoch - 1) * steps + training.step)
        for epoch in range(training.epoch, schedule.epochs + 1):
            classifier.train()
            for images, labels, stream in _epoch(pixels, options, schedule, training):
                savepoint.at_step(training)
                training.optimizer.zero_grad(set_to_none=True)
                done = ((epoch - 1) * steps + training.step) / (schedule.epochs * steps)
                kept = training.kept[: len(images)] if training.kept is not None else None
                for part in range(0, len(images), schedule.physical_batch):
                    piece = slice(part, part + schedule.physical_batch)
                    batch = Batch(
                        model,
                        images[piece],
                        labels[piece],
                        _piece(stream, piece),
                        done,
                        training.rollbacks,
                        kept[piece] if kept is not None else None,
                    )
                    loss = loss_of(batch, **options)
                    (loss * (len(batch.labels) / len(images))).backward()  # type: ignore[no-untyped-call]
                    training.count(loss.item(), len(batch.labels))
                training.update()
                progress.advance()
            with savepoint.judging(training):
                figures = judge.figures(training.judged)
                watched = watchdog.accuracy(classifier) if watchdog else None
            training.close_epoch(figures, judge.rank(figures), watched)
            savepoint.at_epoch(training)
            last = training.history[-1]
            if "rolled_back" in last:
                warn(f"epoch {epoch} has lost its robustness ({watched:.0%} under PGD-5): the state before it is back.")
            shown = ", ".join(f"{name} {value:.3f}" for name, value in last.items() if name not in ("epoch", "lr"))
            progress.advance(0, f"{text} epoch {epoch}/{schedule.epochs}: {shown}")
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


def _epoch(
    pixels: Pixels, options: Mapping[str, Any], schedule: Schedule, training: Training
) -> Iterator[tuple[Tensor, Tensor, Stream]]:
    """What is left of a shuffled pass, in batches of nearly equal size (a last one of one sample upsets BatchNorm).

    Each comes as often as the recipe's `replays` say.
    """
    dataset, epoch, device = pixels.dataset, training.epoch, training.device
    order = generator(schedule.seed, "shuffle", epoch).permutation(len(dataset))
    batches, replays = schedule.batches(len(order)), int(options.get("replays", 1))
    first, again = divmod(training.step, replays)
    for positions in np.array_split(order, batches)[first:]:
        stream = Stream(schedule.seed, f"train:{epoch}", tuple(int(dataset.index[p]) for p in positions))
        images = torch.as_tensor(pixels[positions]).to(device)
        labels = torch.as_tensor(dataset.labels[positions].copy()).to(device)
        images = augment(images, options["augment"], stream)
        for _ in range(again, replays):
            yield images, labels, stream
        again = 0


def _piece(stream: Stream, piece: slice) -> Stream:
    return Stream(stream.seed, stream.name, stream.index[piece])
