"""Shares of the raw rate of training epochs: what reading, augmenting, attacking and updating leave of it.

The raw side makes as many forwards and backwards of the same batches, the network in the same modes; it prepares no
images, moves no points and updates no weights. Judging on held-out data is left out on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from tests.benchmarks.table import Line, ratio
from xaicli.data.arrays import Arrays, make_stock
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.load import lay_out
from xaicli.specs import Spec, parse_spec
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model

CLASSES = 10


@dataclass(frozen=True)
class Size:
    """One model, and how much to train it."""

    arch: str
    shape: tuple[int, int, int]
    rows: int
    batch: int
    steps: int
    pairs: int


WHOLE = (
    Size("cnn", (3, 32, 32), rows=512, batch=64, steps=7, pairs=3),
    Size("cnn", (1, 28, 28), rows=512, batch=64, steps=7, pairs=3),
    Size("resnet18-cifar", (3, 32, 32), rows=96, batch=48, steps=2, pairs=2),
)
SMALL = (
    Size("cnn", (3, 32, 32), rows=8, batch=4, steps=1, pairs=1),
    Size("cnn", (1, 28, 28), rows=8, batch=4, steps=1, pairs=1),
    Size("resnet18-cifar", (3, 32, 32), rows=2, batch=1, steps=1, pairs=1),
)


@dataclass(frozen=True)
class Work:
    """A recipe, and how often a batch passes in eval mode (forward, and backward to the images) and in train mode."""

    recipe: str
    looks: int  # forwards in eval mode without a backward
    walks: int
    updates: int


def works(size: Size) -> list[Work]:
    """Every kind of recipe; of other images and of large networks only the one that counts."""
    steps = size.steps
    pgd = Work(f"adversarial:steps={steps}", 0, steps, 1)
    if size.arch != "cnn" or size.shape[0] == 1:
        return [pgd]
    return [
        Work("standard", 0, 0, 1),
        pgd,
        Work(f"adversarial:norm=l2,steps={steps}", 0, steps, 1),
        Work(f"trades:steps={steps}", 1, steps, 2),
        Work("fast", 0, 1, 1),
        Work("free:replays=4", 0, 0, 4),
    ]


def lines(small: bool) -> Iterator[Line]:
    """An epoch of each recipe, model by model."""
    for size in SMALL if small else WHOLE:
        bench = cache(partial(Bench, size))
        for work in works(size):
            what = f"train {work.recipe}, an epoch of {size.arch} at {size.shape[0]}x{size.shape[1]}x{size.shape[2]}"
            bar = ">= 0.85" if work.walks else ""
            yield Line(what, bar, partial(_share, bench, work, size.pairs))


def _share(bench: Any, work: Work, pairs: int) -> float:
    return ratio(lambda: bench().train(parse_spec("train", work.recipe)), lambda: bench().raw(work), pairs)


class Bench:
    """One model with random weights, and noise as uint8 images of one channel or three."""

    def __init__(self, size: Size) -> None:
        self.size, (channels, height, width) = size, size.shape
        rng, names = np.random.default_rng(0), tuple(str(number) for number in range(CLASSES))
        images = rng.integers(0, 256, (size.rows, *size.shape), dtype=np.uint8)
        labels = rng.integers(0, CLASSES, size.rows).astype(np.uint8)
        stock = make_stock(images, labels, names, "noise")
        common = {"channels": channels, "height": height, "width": width, "classes": names, "digest": stock.digest}
        rows, few = np.arange(size.rows), np.arange(min(size.rows, 4))
        fit = Arrays(name="noise", split="fit", labels=stock.labels, index=rows, stock=stock, **common)
        val = Arrays(name="noise", split="val", labels=stock.labels[few], index=few, stock=stock, **common)
        self.pixels, self.judge = Pixels(fit), Judge(val, None, 0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(parse_arch(size.arch), CLASSES, channels, (height, width))
        self.net = lay_out(Classifier(network, [0.5] * channels, [0.25] * channels, names, size.shape), "cpu")
        self.images, self.labels = torch.tensor(images) / 255, torch.tensor(stock.labels)

    def train(self, recipe: Spec) -> None:
        schedule = Schedule(1, self.size.batch, self.size.batch, 0)
        train_model(self.net, self.pixels, self.judge, recipe, schedule, "benchmark")

    def raw(self, work: Work) -> None:
        for images, labels in zip(self.images.split(self.size.batch), self.labels.split(self.size.batch), strict=True):
            self.net.eval()
            for _ in range(work.looks):
                with torch.no_grad():
                    self.net(images)
            for _ in range(work.walks):
                point = images.detach().requires_grad_()
                torch.autograd.grad(self.net(point)[:, 0].sum(), point)
            self.net.train()
            for _ in range(work.updates):
                self.net.zero_grad(set_to_none=True)
                cross_entropy(self.net(images), labels).backward()
