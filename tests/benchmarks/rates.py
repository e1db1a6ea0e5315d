"""Shares of the raw rate of the same model: what planning, engine and bookkeeping leave of it.

Each piece of work is timed beside the bare model calls it consists of. The raw side makes as many forwards and
backwards of the same batch size as the work needs per row; it prepares no inputs and keeps no results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.table import Line, ratio
from xaicli.attack.engine import Engine
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.metric import name_metrics
from xaicli.evaluate.queries import EVALUATE
from xaicli.explain.background import Background
from xaicli.explain.block import Block
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.generate.ascend import ascend
from xaicli.generate.plan import Task
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

CLASSES = 10


@dataclass(frozen=True)
class Size:
    """One model, and how much to do with it."""

    arch: str
    side: int
    rows: int
    batch: int
    steps: int  # of paths and walks; curves have five times as many (20 and 100 are the defaults of the latter)
    samples: int  # masks and coalitions
    pairs: int


WHOLE = (
    Size("cnn", 32, rows=64, batch=32, steps=20, samples=300, pairs=3),
    Size("resnet18-cifar", 32, rows=32, batch=32, steps=3, samples=32, pairs=2),
    Size("torchvision:resnet18", 224, rows=4, batch=4, steps=6, samples=64, pairs=2),
)
SMALL = (
    Size("cnn", 32, rows=4, batch=4, steps=2, samples=4, pairs=1),
    Size("resnet18-cifar", 32, rows=1, batch=1, steps=2, samples=4, pairs=1),
    Size("torchvision:resnet18", 32, rows=1, batch=1, steps=1, samples=4, pairs=1),
)


@dataclass(frozen=True)
class Work:
    """A command's work on a block, and the forwards and backwards per row that it consists of."""

    verb: str
    text: str
    forwards: int
    backwards: int

    @property
    def name(self) -> str:
        return f"{self.verb} {self.text}"


def works(size: Size) -> list[Work]:
    """Everything; of torchvision's large networks only the explainers that ask often."""
    steps, samples = size.steps, size.samples
    often = [
        Work("explain", f"integrated-gradients:steps={steps}", 2, steps),
        Work("explain", f"expected-gradients:samples={steps}", 1, steps),
        Work("explain", "occlusion:windows=4", 1 + 7 * 7, 0),
        Work("explain", f"rise:masks={samples}", 1 + samples, 0),
        Work("explain", f"lime:samples={samples}", 1 + samples, 0),
        Work("explain", f"kernel-shap:samples={samples}", 2 + samples, 0),
    ]
    if size.arch.startswith("torchvision:"):
        return often
    return [
        Work("explain", "saliency", 0, 1),
        Work("explain", "guided-backprop", 0, 1),
        Work("explain", "gradcam", 0, 1),
        Work("explain", f"smoothgrad:n={steps}", 1, steps),
        Work("explain", f"blur-ig:steps={steps}", 2, steps),
        Work("explain", f"guided-ig:steps={steps}", 2, steps),
        Work("explain", f"xrai:steps={steps}", 3, 2 * steps),
        *often,
        Work("evaluate", f"deletion:steps={5 * steps}", 5 * steps + 1, 0),
        Work("evaluate", f"insertion:steps={5 * steps}", 5 * steps + 1, 0),
        # the clean forward and that of the last point belong to the work
        Work("attack", f"pgd:steps={steps}", 2, steps),
        Work("attack", f"pgd:norm=l2,steps={steps}", 2, steps),
        # the forward of the image as it is stored belongs to the work
        Work("generate", f"class-images:plateau=0,steps={steps}", 1, steps),
    ]


def lines(small: bool) -> Iterator[Line]:
    """All shares, model by model."""
    for size in SMALL if small else WHOLE:
        bench = cache(partial(Bench, size))
        for work in works(size):
            what = f"{work.name}, {size.arch} at {size.side} px"
            bar = ">= 0.85" if work.verb == "generate" else ">= 0.90"
            yield Line(what, bar, partial(_share, bench, work, size.pairs))


def _share(bench: Callable[[], Bench], work: Work, pairs: int) -> float:
    return ratio(lambda: bench().do(work), lambda: bench().raw(work), pairs)


class Bench:
    """One model with random weights, and drawn shapes: noise falls into far more superpixels than pictures do."""

    def __init__(self, size: Size) -> None:
        shape = (3, size.side, size.side)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(parse_arch(size.arch), CLASSES, 3, shape[1:])
        shapes = open_data("shapes", split="test", shape=shape)
        self.images = torch.as_tensor(to_float(shapes.read(np.arange(size.rows)).pixels))
        names = [str(number) for number in range(CLASSES)]
        self.net = Classifier(network, [0.5] * 3, [0.25] * 3, names, shape).eval().requires_grad_(False)
        self.batch, self.index = size.batch, tuple(range(size.rows))
        self.background = Background(lambda count: self.images[:count])
        with torch.no_grad():
            self.labels = self.net(self.images).argmax(1)
            # an attack breaks no row, so that what it has to do is known: the label wins by far
            self.certain = Classifier(_Certain(network), [0.5] * 3, [0.25] * 3, names, shape).eval()
        self.attacked = Calls(self.certain, batch_size=self.batch)  # of all blocks, as in a command

    def do(self, work: Work) -> object:
        return getattr(self, work.verb)(work.text)

    def explain(self, text: str) -> object:
        calls = Calls(self.net, batch_size=self.batch)
        block = Block(calls, self.images, self.labels, Target("predicted"), "logit", self.background)
        answers = Answers(EXPLAIN, {"block": block}, seed=0, index=self.index)
        return Explainer(parse_spec("explain", text)).attribution(answers)

    def evaluate(self, text: str) -> object:
        calls = Calls(self.net, batch_size=self.batch)
        subject = Subject(calls, self.images, self.labels, torch.full_like(self.labels, 65535))
        answers = Answers(EVALUATE, {"subject": subject, "labels": self.labels}, seed=0, index=self.index)
        (metric,) = name_metrics([parse_spec("evaluate", text)])
        return metric.evaluate(answers.within({"attribution": self.images.sum(1)}))

    def attack(self, text: str) -> object:
        spec = parse_spec("attack", text)
        engine = Engine(spec.method.load()(**spec.options), self.attacked, Stream(0, "attack", self.index))
        return engine.run(self.images, torch.zeros_like(self.labels))

    def generate(self, text: str) -> object:
        spec, calls = parse_spec("generate", text), Calls(self.net, batch_size=self.batch)
        plan = spec.method.load()(**spec.options).plan(self.images.shape[-1])
        free, nothing = torch.ones_like(self.images[:, :1]), self.images.new_empty(len(self.images), 0)
        return ascend(plan, calls, Task(self.images, self.labels, free, nothing, nothing.unsqueeze(2)))

    def raw(self, work: Work) -> None:
        net = self.certain if work.verb == "attack" else self.net
        batches = self.images.split(self.batch)
        for _ in range(work.forwards):
            for images in batches:
                with torch.no_grad():
                    net(images)
        for _ in range(work.backwards):
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
