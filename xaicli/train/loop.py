"""The one training loop: shuffle, augment, step, measure on held-out data, keep the best epoch.

Everything random belongs to (seed, what, epoch or step), so that the same command gives the same weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset, to_float
from xaicli.errors import InputError, UsageError
from xaicli.methods import Spec
from xaicli.models.classifier import Classifier
from xaicli.run.progress import Progress
from xaicli.run.random import Stream, generator
from xaicli.train.batch import Batch, augment
from xaicli.train.judge import Judge

Recipe = Callable[..., Tensor]
CACHE_BYTES = 2 << 30  # a data set that is smaller as uint8 is read once


@dataclass(frozen=True)
class Schedule:
    """How long and in what pieces to train."""

    epochs: int
    batch_size: int
    physical_batch: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """The best epoch's state and what happened on the way."""

    state: dict[str, Tensor]
    history: list[dict[str, Any]]
    best_epoch: int


def train_model(
    classifier: Classifier, dataset: Dataset, judge: Judge, recipe: Spec, schedule: Schedule, text: str
) -> Trained:
    """Train in place by a recipe; select the epoch by `judge` on held-out data."""
    options = recipe.options
    loss_of: Recipe = recipe.method.load()
    optimizer = torch.optim.SGD(
        classifier.parameters(),
        lr=float(options["lr"] or 0),  # type: ignore[arg-type]
        momentum=float(options["momentum"] or 0),  # type: ignore[arg-type]
        weight_decay=float(options["weight_decay"] or 0),  # type: ignore[arg-type]
        nesterov=bool(options["momentum"]),
    )
    steps = math.ceil(len(dataset) / schedule.batch_size)
    rate = _rate(str(options["schedule"]), optimizer, schedule.epochs * steps)
    averaged = _average(classifier, float(options["ema"] or 0))  # type: ignore[arg-type]
    pixels = Pixels(dataset)
    history: list[dict[str, Any]] = []
    best: tuple[float, ...] = ()
    state: dict[str, Tensor] = {}
    with Progress(text, schedule.epochs * steps, "steps") as progress:
        for epoch in range(1, schedule.epochs + 1):
            classifier.train()
            losses, used = 0.0, 0.0
            for images, labels, stream in _epoch(pixels, dataset, options, schedule, epoch, classifier):
                optimizer.zero_grad(set_to_none=True)
                for part in range(0, len(images), schedule.physical_batch):
                    piece = slice(part, part + schedule.physical_batch)
                    batch = Batch(classifier, images[piece], labels[piece], _piece(stream, piece))
                    loss = loss_of(batch, **options)
                    (loss * (len(batch.labels) / len(images))).backward()  # type: ignore[no-untyped-call]
                    losses += loss.item() * len(batch.labels)
                    used += len(batch.labels)
                used_rate = float(optimizer.param_groups[0]["lr"])
                optimizer.step()
                if rate is not None:
                    rate.step()
                if averaged is not None:
                    averaged.update_parameters(classifier)
                progress.advance()
            if not math.isfinite(losses):
                raise InputError(f"the training diverged in epoch {epoch}: the loss is not finite; lower lr.")
            judged = cast(Classifier, averaged.module) if averaged is not None else classifier
            figures = judge.figures(judged)
            history.append({"epoch": epoch, "loss": losses / used, **figures, "lr": used_rate})
            if not best or judge.rank(figures) >= best:
                best, state = judge.rank(figures), copy.deepcopy(judged.state_dict())
                best_epoch = epoch
            shown = ", ".join(
                f"{name} {value:.3f}" for name, value in history[-1].items() if name not in ("epoch", "lr")
            )
            progress.advance(0, f"{text} epoch {epoch}/{schedule.epochs}: {shown}")
    return Trained(state, history, best_epoch)


class Pixels:
    """The training images; those that fit are read once and kept as they are stored."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        size = len(dataset) * math.prod(dataset.shape)
        self._cache = self._read(np.arange(len(dataset))) if size <= CACHE_BYTES else None

    def __getitem__(self, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return to_float(self._cache[positions] if self._cache is not None else self._read(positions))

    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over (at most 10,000 of) the images."""
        chosen = np.arange(len(self._dataset))[:: max(len(self._dataset) // 10_000, 1)]
        values = self[chosen].astype(np.float64)
        mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3))
        return tuple(float(m) for m in mean), tuple(float(max(s, 1e-3)) for s in std)

    def _read(self, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        images = self._dataset.read(positions)
        if not images.readable.all():
            bad = self._dataset.key(int(positions[int(np.argmin(images.readable))]))
            raise InputError(f"the training image '{bad}' cannot be read; mend or remove it.")
        return images.pixels


def _epoch(
    pixels: Pixels,
    dataset: Dataset,
    options: dict[str, Any],
    schedule: Schedule,
    epoch: int,
    classifier: Classifier,
) -> Iterator[tuple[Tensor, Tensor, Stream]]:
    """One shuffled pass in batches of nearly equal size (a last batch of one sample would upset BatchNorm)."""
    device = next(classifier.parameters()).device
    order = generator(schedule.seed, "shuffle", epoch).permutation(len(dataset))
    for positions in np.array_split(order, math.ceil(len(order) / schedule.batch_size)):
        stream = Stream(schedule.seed, f"train:{epoch}", tuple(int(dataset.index[p]) for p in positions))
        images = torch.as_tensor(pixels[positions])
        labels = torch.as_tensor(dataset.labels[positions].copy())
        yield augment(images, options["augment"], stream).to(device), labels.to(device), stream


def _piece(stream: Stream, piece: slice) -> Stream:
    return Stream(stream.seed, stream.name, stream.index[piece])


def _rate(name: str, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler | None:
    if name == "constant":
        return None
    if name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    peak = float(optimizer.param_groups[0]["lr"])
    if steps < 2:
        raise UsageError("one-cycle needs at least two training steps; add epochs or use schedule=constant.")
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=steps, cycle_momentum=False)


def _average(classifier: Classifier, decay: float) -> torch.optim.swa_utils.AveragedModel | None:
    if not decay:
        return None
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return torch.optim.swa_utils.AveragedModel(classifier, multi_avg_fn=average, use_buffers=True)
