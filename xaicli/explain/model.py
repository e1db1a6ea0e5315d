"""The function that is explained: a network, several drawn from a posterior, or one that ends in a detector's score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from xaicli.errors import UsageError
from xaicli.files.checkpoint import Checkpoint, read_checkpoint
from xaicli.models.classifier import Classifier
from xaicli.models.detecting import detecting
from xaicli.run.calls import Calls
from xaicli.run.device import steady_sums
from xaicli.run.posterior import open_calls, usual_draws
from xaicli.run.rejection import UNKNOWN, Rejector, rejector_of
from xaicli.run.settings import Settings


@dataclass(frozen=True)
class Question:
    """Which of a checkpoint's functions is asked.

    draws: how many networks of an uncertain checkpoint, 0 for the plain one; None of an ordinary checkpoint. refusal:
    whether the detector's score is its last output.
    """

    draws: int | None = None
    refusal: bool = False

    @property
    def averages(self) -> bool:
        """Whether each draw is explained by itself; a refusal is judged by the mean of their predictions alone."""
        return bool(self.draws) and not self.refusal


@dataclass(frozen=True, eq=False)
class Model:
    """An open function.

    calls: what predictions, classes and metrics are of. draws: the ordinary networks whose maps are averaged; none for
    a function that is explained as it is.
    """

    calls: Calls
    draws: tuple[Calls, ...] = ()


@dataclass(frozen=True, eq=False)
class Judge:
    """Who says which rows are unknown: the checkpoint's detector, and its usual function whatever is explained."""

    rejector: Rejector
    calls: Calls


class Opened:
    """One checkpoint's functions on a device, each opened when it is first asked for."""

    def __init__(self, path: Path, settings: Settings, device: torch.device | str) -> None:
        self._path, self._settings, self._device = path, settings, device
        self._calls: dict[int, Calls] = {}
        self._models: dict[Question, Model] = {}

    def model(self, question: Question) -> Model:
        """The function."""
        if question not in self._models:
            calls = self._open(question.draws)
            if question.refusal:
                calls = self._detecting(calls)
            draws = tuple(calls.members()) if question.averages else ()
            self._models[question] = Model(calls, draws)
        return self._models[question]

    @cached_property
    def judge(self) -> Judge | None:
        """None for a checkpoint that refuses nothing."""
        if self._checkpoint.meta.rejection is None:
            return None
        calls = self._open(None).apart()
        rejector = rejector_of(self._checkpoint, calls)
        return None if rejector is None else Judge(rejector, calls)

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return read_checkpoint(self._path)

    def _open(self, draws: int | None) -> Calls:
        number = usual_draws(self._checkpoint.meta) if draws is None else draws
        if number not in self._calls:
            opened = open_calls(self._checkpoint, device=self._device, settings=self._settings, draws=number)
            self._calls[number] = opened
        return self._calls[number]

    def _detecting(self, calls: Calls) -> Calls:
        rejector = rejector_of(self._checkpoint, calls)
        if rejector is None:
            raise refuses_nothing(self._path.name)
        head = calls.head() if rejector.detector.needs_features else None
        made = detecting(calls.classifier, head, rejector.detector, rejector.threshold, UNKNOWN)
        return Calls(made, batch_size=calls.batch_size)


def example(path: Path, settings: Settings, question: Question) -> Classifier:
    """A network like those that are explained, on the CPU, for what only a network knows of itself."""
    steady_sums()  # before the network is asked anything
    few = replace(question, draws=1) if question.draws else question
    model = Opened(path, settings, "cpu").model(few)
    return (model.draws or (model.calls,))[0].classifier


def refuses_nothing(name: str) -> UsageError:
    """What is raised where a checkpoint's refusals are asked for and it has none."""
    return UsageError(
        f"'{name}' refuses nothing, so there is no refusal to explain; train it with --known or --detector."
    )
