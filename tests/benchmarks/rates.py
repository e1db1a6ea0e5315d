"""Shares of the raw rate of the same model: what planning, engine and bookkeeping leave of it.

Each piece of work is timed beside the bare model calls it consists of, in pairs, in process time, and the median of the
pairs' ratios is the figure. The raw side makes as many forwards and backwards of the same batch size as the work needs
per row; it prepares no inputs and keeps no results.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.attack.engine import Engine
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.metric import name_metrics
from xaicli.evaluate.queries import EVALUATE
from xaicli.explain.block import Block
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.methods import parse_spec
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.device import keep_freed_memory, steady_sums
from xaicli.run.plan import Answers
from xaicli.run.random import Stream

BATCH = 32
CLASSES = 10


@dataclass(frozen=True)
class Size:
    """How much to do: rows by architecture, and pairs of measurements."""

    rows: dict[str, int]
    steps: dict[str, int]  # of paths and walks; curves have five times as many (20 and 100 are the defaults)
    pairs: dict[str, int]


WHOLE = Size({"cnn": 64, "resnet18-cifar": 32}, {"cnn": 20, "resnet18-cifar": 3}, {"cnn": 21, "resnet18-cifar": 3})
SMALL = Size({"cnn": 4, "resnet18-cifar": 1}, {"cnn": 2, "resnet18-cifar": 2}, {"cnn": 1, "resnet18-cifar": 1})


@dataclass(frozen=True)
class Share:
    """One line of the table: raw seconds over seconds."""

    what: str
    share: float


def measure_rates(size: Size) -> Iterator[Share]:
    """All shares, architecture by architecture."""
    steady_sums()
    keep_freed_memory()
    torch.set_num_threads(1)
    for arch, rows in size.rows.items():
        bench = Bench(arch, rows, min(rows, BATCH))
        for what, work, raw in bench.pairs(size.steps[arch]):
            work(), raw()
            ratios = []
            for turn in range(size.pairs[arch]):
                first, second = (work, raw) if turn % 2 else (raw, work)
                times = {first: _seconds(first), second: _seconds(second)}
                ratios.append(times[raw] / times[work])
            yield Share(f"{what}, {arch} 3x32x32", statistics.median(ratios))


def _seconds(function: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    function()
    return time.process_time() - start


class Bench:
    """One architecture with random weights and rows of noise."""

    def __init__(self, arch: str, rows: int, batch: int) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(parse_arch(arch), CLASSES, 3, (32, 32))
            self.images = torch.rand(rows, 3, 32, 32)
        names = [str(number) for number in range(CLASSES)]
        self.net = Classifier(network, [0.5] * 3, [0.25] * 3, names, (3, 32, 32)).eval().requires_grad_(False)
        self.batch, self.index = batch, tuple(range(rows))
        with torch.no_grad():
            self.labels = self.net(self.images).argmax(1)
            # an attack breaks no row, so that what it has to do is known: the label wins by far
            self.certain = Classifier(_Certain(network), [0.5] * 3, [0.25] * 3, names, (3, 32, 32)).eval()

    def pairs(self, steps: int) -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
        """(name, the work, the bare model calls it consists of)."""
        for text, forwards, backwards in (
            ("saliency", 0, 1),
            (f"integrated-gradients:steps={steps}", 2, steps),
            ("gradcam", 0, 1),
        ):
            yield f"explain {text}", lambda t=text: self.explain(t), lambda f=forwards, b=backwards: self.raw(f, b)
        for text in (f"deletion:steps={5 * steps}", f"insertion:steps={5 * steps}"):
            yield f"evaluate {text}", lambda t=text: self.evaluate(t), lambda: self.raw(5 * steps + 1, 0)
        for text in (f"pgd:steps={steps}", f"pgd:norm=l2,steps={steps}"):
            # the clean forward and that of the last point belong to the work
            yield f"attack {text}", lambda t=text: self.attack(t), lambda: self.raw(2, steps, self.certain)

    def explain(self, text: str) -> Tensor:
        calls = Calls(self.net, batch_size=self.batch)
        block = Block(calls, self.images, self.labels, Target("predicted"), "logit")
        answers = Answers(EXPLAIN, {"block": block}, seed=0, index=self.index)
        return Explainer(parse_spec("explain", text)).attribution(answers).attribution

    def evaluate(self, text: str) -> object:
        calls = Calls(self.net, batch_size=self.batch)
        subject = Subject(calls, self.images, self.labels, torch.full_like(self.labels, 65535))
        answers = Answers(EVALUATE, {"subject": subject, "labels": self.labels}, seed=0, index=self.index)
        (metric,) = name_metrics([parse_spec("evaluate", text)])
        return metric.evaluate(answers.within({"attribution": self.images.sum(1)}))

    def attack(self, text: str) -> object:
        spec = parse_spec("attack", text)
        calls = Calls(self.certain, batch_size=self.batch)
        engine = Engine(spec.method.load()(**spec.options), calls, Stream(0, "attack", self.index))
        return engine.run(self.images, torch.zeros_like(self.labels))

    def raw(self, forwards: int, backwards: int, net: Classifier | None = None) -> None:
        net = net or self.net
        batches = self.images.split(self.batch)
        for _ in range(forwards):
            for images in batches:
                with torch.no_grad():
                    net(images)
        for _ in range(backwards):
            for images in batches:
                point = images.detach().requires_grad_()
                torch.autograd.grad(net(point)[:, 0].sum(), point)


class _Certain(torch.nn.Module):
    """A network whose first class always wins."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("lead", torch.tensor([1e3] + [0.0] * (CLASSES - 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) + self.lead
