"""What privacy costs: seconds of a private step over a plain one and under Opacus' hooks, and its peak memory.

All three steps are whole: forward, backward, what is done to gradients (of private ones norms, clipping and noise), and
the update, on the same random images. The plain network keeps its BatchNorms, the private ones have GroupNorms.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from tests.benchmarks.table import Line, ratio
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.group_norm import group_norms
from xaicli.models.load import lay_out
from xaicli.train.private.budget import Budget
from xaicli.train.private.ledger import Ledger
from xaicli.train.private.noisy import Noisy
from xaicli.train.private.secret import Secret

CLASSES = 10
PIECE = 64
SCRIPT = "from tests.benchmarks.private import print_peak; print_peak({rows}, {piece})"


@dataclass(frozen=True)
class Size:
    """One model, the rows of its batches, and how often they are timed."""

    arch: str
    shape: tuple[int, int, int]
    bar: str
    rows: int = 256
    steps: int = 4
    pairs: int = 7


WHOLE = (
    Size("dp-cnn", (1, 28, 28), "<= 2"),
    Size("cnn", (1, 28, 28), "<= 2.5"),
    Size("cnn", (3, 32, 32), "<= 2.5"),
    Size("wrn-16-4", (1, 28, 28), "", rows=16, steps=1, pairs=2),
)
SMALL = tuple(Size(size.arch, size.shape, size.bar, rows=2, steps=1, pairs=1) for size in WHOLE[:3])


def lines(small: bool) -> Iterator[Line]:
    """Every model against itself without privacy, and against Opacus where that knows all layers."""
    for size in SMALL if small else WHOLE:
        bench = cache(partial(Bench, size))
        what = f"{size.arch} at {'x'.join(map(str, size.shape))}, {size.rows} rows"
        yield Line(f"train private, a step of {what}, over the plain one", size.bar, partial(_over_plain, bench))
        if size.arch != "wrn-16-4":
            yield Line(f"Opacus' hooks over it, {what}", ">= 1", partial(_opacus_over, bench))
    few, many = (32, 64) if small else (PIECE, 16 * PIECE)
    yield Line(
        f"peak memory of a private step of {many} rows by {few} over one of {few}",
        "<= 1.25",
        lambda: peak_memory(many, few) / peak_memory(few, few),
    )


def _over_plain(bench: Callable[[], Bench]) -> float:
    return ratio(bench().plain(), bench().private(), bench().size.pairs)


def _opacus_over(bench: Callable[[], Bench]) -> float:
    return ratio(bench().private(), bench().opacus(), bench().size.pairs)


class Bench:
    """Random images, and the three ways to take some steps on them."""

    def __init__(self, size: Size) -> None:
        self.size = size
        random = torch.Generator().manual_seed(0)
        self.images = torch.rand((size.rows, *size.shape), generator=random)
        self.labels = torch.randint(0, CLASSES, (size.rows,), generator=random)

    def plain(self) -> Callable[[], None]:
        net = classifier(self.size, private=False).train()
        optimizer = sgd(net)

        def step() -> None:
            optimizer.zero_grad()
            cross_entropy(net(self.images), self.labels).backward()
            optimizer.step()

        return self._some(step)

    def private(self) -> Callable[[], None]:
        return self._some(private_step(self.size, self.images, self.labels, self.size.rows))

    def opacus(self) -> Callable[[], None]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from opacus.grad_sample import GradSampleModule
            from opacus.optimizers import DPOptimizer

        net = classifier(self.size, private=True)
        hooked = GradSampleModule(net.network)
        optimizer: Any = DPOptimizer(
            sgd(hooked), noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=self.size.rows
        )

        def step() -> None:
            optimizer.zero_grad()
            cross_entropy(hooked((self.images - net.mean) / net.std), self.labels).backward()
            optimizer.step()

        return self._some(step)

    def _some(self, step: Callable[[], None]) -> Callable[[], None]:
        def steps() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(self.size.steps):
                    step()

        return steps


def classifier(size: Size, *, private: bool) -> Classifier:
    channels, height, width = size.shape
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(parse_arch(size.arch), CLASSES, channels, (height, width))
    if private:
        group_norms(network)
    names = [str(number) for number in range(CLASSES)]
    return lay_out(Classifier(network, [0.5] * channels, [0.25] * channels, names, size.shape), "cpu")


def sgd(net: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)


def private_step(size: Size, images: torch.Tensor, labels: torch.Tensor, piece: int) -> Callable[[], None]:
    """A step as the training loop takes it, in pieces of so many rows."""
    net, rows = classifier(size, private=True), len(images)
    budget = Budget(60_000, rows, 1000, 1.0, 1.0, 1e-6, "prv", None, "", Ledger())
    noisy, optimizer, numbers = Noisy(net, budget, Secret.fresh()), sgd(net), iter(range(1 << 30))
    noisy.begin()

    def step() -> None:
        optimizer.zero_grad()
        for x, y in zip(images.split(piece), labels.split(piece), strict=True):
            noisy.add(cross_entropy(noisy.model(x), y, reduction="none"), 1.0)
        noisy.finish(next(numbers))
        optimizer.step()

    return step


def peak_memory(rows: int, piece: int) -> float:
    """Mebibytes that a step takes beyond what the process held before it."""
    script = SCRIPT.format(rows=rows, piece=piece)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    return float(done.stdout)


def print_peak(rows: int, piece: int) -> None:
    """In a process of its own: what a step has at most, over what there was after one of a single row."""
    torch.set_num_threads(1)
    size = Size("cnn", (3, 32, 32), "")
    images, labels = torch.rand(rows, *size.shape), torch.zeros(rows, dtype=torch.long)
    private_step(size, images[:1], labels[:1], 1)()
    step = private_step(size, images, labels, piece)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of getting here
    before = _kibibytes("VmRSS")
    step()
    print((_kibibytes("VmHWM") - before) / 1024)


def _kibibytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
