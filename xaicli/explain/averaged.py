"""Maps of an uncertain model: the mean over networks drawn from its posterior, and how far they are apart.

All networks explain the same class, that of the mean prediction, and share their random numbers; no map is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xaicli.errors import UsageError
from xaicli.explain.background import Background
from xaicli.explain.block import Block
from xaicli.explain.explainer import Explainer
from xaicli.explain.explanation import Averaged, Explanation, Measured
from xaicli.explain.quantity import Target
from xaicli.explain.turns import Moments
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers

FEWEST = 2  # draws that have a spread


@dataclass(frozen=True, eq=False)
class Draw:
    """One network of the posterior, and the training images as it sees them."""

    calls: Calls
    background: Background


def averaged(
    explainers: Sequence[Explainer], answers: Answers, target: Tensor, draws: Sequence[Draw]
) -> list[Averaged]:
    """Ask all explainers of one draw after the other, so that they share its questions.

    answers: to what the mean prediction is asked about the rows; a draw is asked the same. target: int64 [n], the class
    that is explained. The gap of a sum is linear in the map and the quantity, so that of the mean map, against the mean
    quantity, is the mean of the gaps.
    """
    block: Block = answers.ask("block", {})
    rule = Target("label", against=block.target.against)  # the classes are handed over in the place of labels
    judged = {} if block.judge is None else {"judged": answers.ask("judged", {})}
    totals = [_Total(len(draws)) for _ in explainers]
    for draw in draws:
        own = replace(block, calls=draw.calls, background=draw.background, target=rule, labels=target)
        asked = answers.anew({"block": own, **judged})
        for explainer, total in zip(explainers, totals, strict=True):
            total.add(explainer.attribution(asked))
    return [total.averaged for total in totals]


def check_draws(draws: int | None) -> None:
    """UsageError for a number of draws that has no spread."""
    if draws is not None and 0 < draws < FEWEST:
        raise UsageError(
            f"draws={draws} has no spread to store beside the mean map; draw {FEWEST} networks or more, or none "
            "(draws=0) for the one plain network."
        )


@dataclass(eq=False)
class _Total:
    """What the draws so far have found of one explainer."""

    draws: int
    _count: int = 0
    _maps: Moments | None = None
    _gaps: Moments | None = None
    _figures: dict[str, Any] = field(default_factory=dict)

    def add(self, found: Measured[Tensor]) -> None:
        """One draw's maps and figures."""
        self._maps = self._added(self._maps, found.attribution)
        if isinstance(found, Explanation):
            self._gaps = self._added(self._gaps, found.completeness.double())
        for name, values in found.figures.items():
            known = self._figures.get(name)
            if values.is_floating_point():
                self._figures[name] = self._added(known, values)
            else:  # segments are the image's own, and of steps the most that a draw has needed counts
                self._figures[name] = values if known is None else torch.maximum(known, values)
        self._count += 1

    @property
    def averaged(self) -> Averaged:
        """The means over all draws."""
        assert self._maps is not None
        figures = {name: of.mean if isinstance(of, Moments) else of for name, of in self._figures.items()}
        found: Measured[Tensor] = Measured(self._maps.mean, figures=figures)
        if self._gaps is not None:
            found = Explanation(self._maps.mean, self._gaps.mean, figures=figures)
        return Averaged(found, self._maps.deviation)

    def _added(self, known: Moments | None, values: Tensor) -> Moments:
        moments = Moments(values, self.draws) if known is None else known
        moments.add(self._count, slice(None), values)
        return moments
