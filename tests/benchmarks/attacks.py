"""Attacks against the libraries': CPU seconds for the same robust accuracy, of a plain and of a robust network."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import torch
import torchattacks
from pyautoattack.autoattack import AutoAttack
from torch import Tensor

from tests.benchmarks.table import Line, ratio
from xaicli.attack.engine import Attacked, Engine
from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.attack.plan import Draw
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.load import lay_out
from xaicli.run.calls import Calls
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

TRAINED_EPS = 8 / 255  # of the robust network
EPS = 0.1  # breaks every sample of the plain one, about half of the robust one
BATCH = 32
CLASSES = 10
STEPS = 40


@dataclass(frozen=True)
class Size:
    """How long the networks are trained, and how much is attacked."""

    epochs: int
    robust_epochs: int
    rows: int
    attacked: int  # by AutoAttack
    steps: int  # of its gradient attacks
    queries: int
    pairs: int


WHOLE = Size(epochs=4, robust_epochs=6, rows=256, attacked=64, steps=100, queries=5000, pairs=3)
SMALL = Size(epochs=1, robust_epochs=1, rows=8, attacked=4, steps=2, queries=5, pairs=1)


def lines(small: bool) -> Iterator[Line]:
    """Factors over the libraries' seconds; one is the share of what the samples that are not broken cost."""
    size = SMALL if small else WHOLE
    plain, robust = (cache(partial(Bench, size, robust)) for robust in (False, True))
    yield Line("pgd-40, plain cnn: times faster than torchattacks", ">= 3", partial(_pgd, plain))
    what = "pgd-40, robust cnn: torchattacks' seconds per step over ours per step taken"
    yield Line(what, ">= 0.85", partial(_pgd_per_step, robust))
    yield Line("pgd-40, robust cnn: samples left right, over torchattacks'", "<= 1", partial(_pgd_left, robust))
    yield Line("autoattack, robust cnn: times faster than pyautoattack", ">= 1", partial(_autoattack, robust))
    what = "autoattack, robust cnn: samples left right, over pyautoattack's"
    yield Line(what, "<= 1", partial(_autoattack_left, robust))
    what = "autoattack, robust cnn: share of samples on which both say the same"
    yield Line(what, ">= 0.97", partial(_autoattack_agreement, robust))


def _pgd(bench: Callable[[], Bench]) -> float:
    return ratio(bench().pgd, bench().torchattacks, bench().size.pairs)


def _pgd_per_step(bench: Callable[[], Bench]) -> float:
    return _pgd(bench) * bench().steps / STEPS


def _pgd_left(bench: Callable[[], Bench]) -> float:
    return bench().share(bench().pgd().images, bench().torchattacks())


def _autoattack(bench: Callable[[], Bench]) -> float:
    return ratio(bench().autoattack, bench().pyautoattack, 1)


def _autoattack_left(bench: Callable[[], Bench]) -> float:
    return bench().share(*bench().found)


def _autoattack_agreement(bench: Callable[[], Bench]) -> float:
    ours, theirs = (bench().right(images) for images in bench().found)
    return (ours == theirs).double().mean().item()


class Bench:
    """A small network trained on the digits, and its test images."""

    def __init__(self, size: Size, robust: bool) -> None:
        self.size = size
        self._made: dict[str, Tensor] = {}
        train, test = open_data("digits", split="train"), open_data("digits", split="test")
        names = [str(number) for number in range(CLASSES)]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(parse_arch("cnn"), CLASSES, 1, train.shape[1:])
            self.net = lay_out(Classifier(network, [0.5], [0.5], names, train.shape), "cpu")
            self._train(*_rows(train, len(train)), robust)
        self.images, self.labels = _rows(test, size.rows)

    def _train(self, images: Tensor, labels: Tensor, robust: bool) -> None:
        optimizer = torch.optim.Adam(self.net.parameters(), 3e-3)
        attack = pgd(eps=TRAINED_EPS, steps=5)
        for _ in range(self.size.robust_epochs if robust else self.size.epochs):
            for part in torch.randperm(len(images)).split(BATCH):
                batch = images[part]
                if robust:
                    batch = perturb(attack, self.net, batch, labels[part], _draw(batch))
                self.net.train()
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(self.net(batch), labels[part]).backward()
                optimizer.step()
        self.net.eval().requires_grad_(False)

    def right(self, images: Tensor) -> Tensor:
        """Which samples are right on these images, bool [n]."""
        with torch.no_grad():
            return self.net(images).argmax(1) == self.labels[: len(images)]

    def left(self, images: Tensor) -> int:
        """How many samples are right on these images."""
        return int(self.right(images).sum())

    def share(self, ours: Tensor, theirs: Tensor) -> float:
        """What ours leaves right of what theirs does, one added to each."""
        return (self.left(ours) + 1) / (self.left(theirs) + 1)

    def ours(self, text: str, rows: int) -> Attacked:
        spec = parse_spec("attack", text)
        engine = Engine(
            spec.method.load()(**spec.options),
            Calls(self.net, batch_size=BATCH),
            Stream(0, "attack", tuple(range(rows))),
        )
        return engine.run(self.images[:rows], self.labels[:rows])

    def pgd(self) -> Attacked:
        return self.ours(f"pgd:eps={EPS:.9g},steps={STEPS}", self.size.rows)

    def torchattacks(self) -> Tensor:
        attack = torchattacks.PGD(self.net, eps=EPS, alpha=2.5 * EPS / STEPS, steps=STEPS)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            parts = zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True)
            return torch.cat([attack(images, labels) for images, labels in parts])

    @cached_property
    def steps(self) -> float:
        """Forwards and backwards of a sample in the mean; torchattacks makes 40 of each."""
        return float(self.pgd().steps.double().mean())

    def autoattack(self) -> Attacked:
        size = self.size
        text = f"autoattack:eps={EPS:.9g},steps={size.steps},queries={size.queries}"
        self._made["ours"] = (done := self.ours(text, size.attacked)).images
        return done

    def pyautoattack(self) -> Tensor:
        size = self.size
        attack = AutoAttack(self.net, norm="Linf", eps=EPS, seed=0)
        attack.verbose = False
        for part in (attack.apgd, attack.apgd_targeted, attack.fab):
            part.n_iter = part.n_iter_orig = size.steps
        attack.square.n_queries = size.queries
        with torch.random.fork_rng(), contextlib.redirect_stdout(io.StringIO()):
            images, labels = self.images[: size.attacked], self.labels[: size.attacked]
            self._made["theirs"], _ = attack.run_standard_evaluation(images, labels, batch_size=BATCH)
        return self._made["theirs"]

    @property
    def found(self) -> tuple[Tensor, Tensor]:
        """The images of both AutoAttacks, as they were made last."""
        for name, attack in (("ours", self.autoattack), ("theirs", self.pyautoattack)):
            if name not in self._made:
                attack()
        return self._made["ours"], self._made["theirs"]


def _rows(dataset: object, count: int) -> tuple[Tensor, Tensor]:
    rows = np.arange(min(count, len(dataset)))
    return torch.as_tensor(to_float(dataset.read(rows).pixels)), torch.as_tensor(dataset.labels[rows]).long()


def _draw(images: Tensor) -> Draw:
    return Draw(lambda: torch.randn_like(images), lambda: torch.rand_like(images), lambda: torch.rand(len(images)))
