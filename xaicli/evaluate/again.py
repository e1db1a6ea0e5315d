"""The explainers of a run asked again: with the options of their stores, about other images, classes or models.

All that explain the same classes by the same model are asked together, so that they share their questions: eight CAMs
of a noisy image cost one forward. Costs are the facts `again` (all of them about one image), `own` (one of them) and
`depth` (the layers that can be randomised), functions without parameters, because only the model may know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.reduce import reduce_maps
from xaicli.explain.averaged import Draw, averaged
from xaicli.explain.background import Background
from xaicli.explain.block import Block
from xaicli.explain.explainer import Explainer
from xaicli.explain.model import Judge
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers


@dataclass(frozen=True, eq=False)
class Asked:
    """One explainer as it was asked for its store. reduce: how its channels become one value; half: held as float16."""

    explainer: Explainer
    quantity: str
    seed: int
    reduce: str
    half: bool = False

    def reduced(self, maps: Tensor) -> Tensor:
        """Maps [n, C, H, W] as they are judged, [n, H, W]."""
        return reduce_maps(maps, self.reduce)


@dataclass(frozen=True, eq=False)
class Explainers:
    """The root: explainers of the same classes of some rows by the same model, and the maps that their stores hold.

    maps: one [n, H, W] for each, reduced. index: the rows' numbers in their data set, to which random numbers belong.
    calls: another model than the subject's. draws: the networks whose maps are averaged, where the subject's model is
    the mean prediction of several. judge: of a checkpoint that refuses rows.
    """

    asked: Sequence[Asked]
    maps: Sequence[Tensor]
    index: tuple[int, ...]
    background: Background = field(default_factory=Background)
    calls: Calls | None = None
    draws: Sequence[Draw] = ()
    judge: Judge | None = None

    def of(self, calls: Calls) -> Explainers:
        """The same, asked about another model that knows the same training images; which rows are refused stays."""
        return replace(self, calls=calls, background=self.background.apart())

    def about(self, subject: Subject, only: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """Every explainer's number and its maps [n, C, H, W] of the subject's images and classes; only: of one.

        The subject may stand for several copies of the rows, one after the other. Forwards of another model are
        counted with those of the subject's own.
        """
        calls = self.calls or subject.calls
        before = calls.forwards
        index = self.index * (len(subject.images) // len(self.index))
        target = Target("label", against=int(subject.against[0]))  # the classes are handed over in the place of labels
        for quantity, seed in dict.fromkeys((asked.quantity, asked.seed) for asked in self.asked):
            block = Block(calls, subject.images, subject.target, target, quantity, self.background, self.judge)
            answers = Answers(EXPLAIN, {"block": block}, seed=seed, index=index)
            mine = {
                number: asked
                for number, asked in enumerate(self.asked)
                if (asked.quantity, asked.seed) == (quantity, seed) and only in (None, number)
            }
            found = self._found([asked.explainer for asked in mine.values()], answers, subject.target)
            for (number, asked), maps in zip(mine.items(), found, strict=True):
                yield number, (maps.half() if asked.half else maps).to(subject.images.dtype)
        if calls is not subject.calls:
            subject.calls.forwards += calls.forwards - before

    def _found(self, explainers: Sequence[Explainer], answers: Answers, target: Tensor) -> Iterator[Tensor]:
        """Their maps, means over the draws where there are any."""
        if not self.draws:
            return (explainer.attribution(answers).attribution for explainer in explainers)
        return (one.found.attribution for one in averaged(explainers, answers, target, self.draws))

    def reduced(self, subject: Subject, only: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """The same, reduced as the stores' maps are, [n, H, W]."""
        for number, maps in self.about(subject, only):
            yield number, self.asked[number].reduced(maps)

    def changes(self, subject: Subject) -> tuple[Tensor, ...]:
        """How far each explainer's maps of the subject are from those of its store, l2 norm, [n], float64."""
        copies = len(subject.images) // len(self.index)
        return in_order(
            (number, norms(maps - self.maps[number].repeat(copies, 1, 1))) for number, maps in self.reduced(subject)
        )


def planned_again(asked: Sequence[Asked], size: int, channels: Callable[[str], int]) -> int:
    """Forwards per row when these are asked together about one image of so many pixels; no prediction is needed."""
    total = 0
    for quantity, seed in dict.fromkeys((one.quantity, one.seed) for one in asked):
        methods = [
            (one.explainer.function, one.explainer.spec.options)
            for one in asked
            if (one.quantity, one.seed) == (quantity, seed)
        ]
        total += EXPLAIN.planned(methods, size, channels=channels)
    return total


def in_order(found: Iterator[tuple[int, Tensor]]) -> tuple[Tensor, ...]:
    """Answers of all explainers in the order of the explainers."""
    return tuple(answer for _, answer in sorted(found, key=lambda pair: pair[0]))


def norms(values: Tensor) -> Tensor:
    """The l2 norm of each row, [n], in double precision."""
    found: Tensor = torch.linalg.vector_norm(values.double().flatten(1), dim=1)
    return found
