"""An attack on trial: run on a few rows as it is, with other options, on a changed model, and beside its controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from xaicli.attack.engine import Attacked
from xaicli.attack.loss import log_odds
from xaicli.attack.runner import AnyAttack, Runner, runner
from xaicli.data.dataset import UNKNOWN
from xaicli.methods import describe, names
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls, evaluating
from xaicli.run.random import Stream
from xaicli.specs import Spec

RADIUS = ("eps", "max_epsilon")
STEPS = ("steps", "num_iter_set", "nb_iter", "max_iterations", "queries", "n_queries")
STRIDE = ("step", "alpha")
FULL_STRIDES = 2.5  # radii that a walk may cover in all, as our own steps do
QUERIES = 300  # of the black-box attack beside it

Begin = Callable[[AnyAttack, Calls, Stream], Runner]


@dataclass(frozen=True)
class Suspect:
    """An attack with its options, so that it can be made anew with others. `begin` is what runs it."""

    options: Mapping[str, Any]
    make: Callable[..., AnyAttack]
    control: bool = False  # whether it is one of those that an attack has to beat
    blind: bool = False  # whether it follows no gradient
    begin: Begin = runner

    @classmethod
    def of(cls, spec: Spec, begin: Begin = runner) -> Suspect:
        """The attack that a command names."""
        return cls(spec.options, spec.method.load(), "a control" in spec.method.summary, spec.name in BLIND, begin)

    @cached_property
    def attack(self) -> AnyAttack:
        """The attack as it was asked for."""
        return self.make(**self.options)

    @property
    def eps(self) -> float | None:
        """Its radius, if there is one to be changed."""
        return self.attack.eps if self._first(RADIUS) and self.attack.eps else None

    @property
    def steps(self) -> int | None:
        """Its steps, if there are some to be changed."""
        name = self._first(STEPS)
        return None if name is None else int(self.options[name])

    @property
    def targeted(self) -> bool:
        """Whether success means one class."""
        return self.attack.towards not in (None, "each")

    def at(self, eps: float) -> dict[str, Any]:
        """The options of the same attack at another radius: strides of fixed length grow with it."""
        radius, stride = self._first(RADIUS), self._first(STRIDE)
        changed: dict[str, Any] = {} if radius is None else {radius: eps}
        if stride and self.options[stride] and self.eps:
            changed[stride] = self.options[stride] * eps / self.eps
        return changed

    def after(self, steps: int) -> dict[str, Any]:
        """The options that take only so many of its steps, each as long as it was."""
        name, stride = self._first(STEPS), self._first(STRIDE)
        changed: dict[str, Any] = {} if name is None else {name: steps}
        if stride and self.options[stride] is None and self.eps and self.steps:
            changed[stride] = FULL_STRIDES * self.eps / self.steps
        return changed

    def _first(self, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in self.options), None)


BLIND = ("square", "torchattacks-square", "spsa", "onepixel", "pixle")


@dataclass
class Trial:
    """Some rows, and what was already found out about them."""

    suspect: Suspect
    calls: Calls
    images: Tensor  # [n, C, H, W] in [0, 1]
    labels: Tensor  # int64 [n]
    stream: Stream
    known: dict[str, Attacked] = field(default_factory=dict)

    def run(self, **changes: Any) -> Attacked:
        """The attack with some options changed."""
        key = repr(sorted(changes.items()))
        if key not in self.known:
            self.known[key] = self._run(self.suspect.make(**{**self.suspect.options, **changes}), self.calls)
        return self.known[key]

    def scaled(self, factor: float) -> Attacked:
        """The attack on the same model with its logits multiplied."""
        own = self.calls.classifier
        network = nn.Sequential(own.network, Louder(factor))
        mean, std = own.mean.flatten().tolist(), own.std.flatten().tolist()
        louder = Classifier(network, mean, std, own.class_names, own.shape)
        louder.mean, louder.std = own.mean, own.std
        return self._run(self.suspect.attack, Calls(louder, batch_size=self.calls.batch_size))

    def backwards(self) -> Attacked:
        """The attack on the rows in the opposite order, put back into theirs."""
        turned = Trial(
            self.suspect,
            self.calls,
            self.images.flip(0),
            self.labels.flip(0),
            Stream(self.stream.seed, self.stream.name, self.stream.index[::-1]),
        ).run()
        return Attacked(*(getattr(turned, name).flip(0) for name in Attacked.__dataclass_fields__))

    def control(self) -> Attacked:
        """Noise of the attack's size."""
        return self._beside("uniform-noise", {"norm": self.suspect.attack.norm, "eps": self.suspect.eps})

    def black_box(self) -> Attacked:
        """The best attack without gradients that there is."""
        sizes = {"norm": self.suspect.attack.norm, "eps": self.suspect.eps}
        name = "square" if can("square", self.suspect.attack.norm) else "uniform-noise"
        options = {option.name for option in describe("attack", name).options}
        more = {"queries": QUERIES, "draws": QUERIES // 10}
        return self._beside(name, sizes | {key: value for key, value in more.items() if key in options})

    @cached_property
    def right(self) -> Tensor:
        """The rows that are right on their clean image, bool [n]."""
        logits = self.run().clean_logits
        return (logits.argmax(1) == self.labels) & logits.isfinite().all(1)

    def robust(self, done: Attacked) -> float:
        """The share of the right rows that an attack has not brought to its goal."""
        return float((~done.success[self.right]).double().mean())

    def loss(self, logits: Tensor) -> Tensor:
        """What the attack is to raise, [n], in the units of logits."""
        target = self.run().target
        if self.suspect.targeted:
            return -log_odds(logits, torch.where(target == UNKNOWN, 0, target))[0]
        return log_odds(logits, torch.where(self.labels < logits.shape[1], self.labels, 0))[0]

    def gradients(self) -> Tensor:
        """The largest size of each row's gradient at the clean image, [n]."""

        def ask(images: Tensor, labels: Tensor) -> tuple[Tensor]:
            images = images.detach().requires_grad_()
            logits = self.calls.classifier(images)
            (gradient,) = torch.autograd.grad(logits, images, log_odds(logits.detach(), labels)[1], allow_unused=True)
            return (images.new_zeros(len(images)) if gradient is None else gradient.flatten(1).abs().amax(1),)

        known = torch.where(self.labels < len(self.calls.classifier.class_names), self.labels, 0)
        with evaluating(self.calls.classifier):
            return self.calls.each(ask, self.images, known)[0]

    def _run(self, attack: AnyAttack, calls: Calls) -> Attacked:
        return self.suspect.begin(attack, calls, self.stream).run(self.images, self.labels)

    def _beside(self, name: str, options: dict[str, Any]) -> Attacked:
        key = f"{name}:{options}"
        if key not in self.known:
            attack = describe("attack", name).load()(**options)
            self.known[key] = runner(attack, self.calls, self.stream).run(self.images, self.labels)
        return self.known[key]


def can(name: str, norm: str) -> bool:
    """Whether there is an attack of this name in this norm."""
    if name not in names("attack"):
        return False
    return any(option.name == "norm" and norm in option.choices for option in describe("attack", name).options)


class Louder(nn.Module):
    """Logits times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        """Logits [n, K]."""
        return logits * self.factor
