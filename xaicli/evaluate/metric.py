"""One metric with its options, as the planner, the store and the statistics see it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from xaicli.errors import UsageError
from xaicli.evaluate.direction import Better, better
from xaicli.evaluate.queries import EVALUATE, OF_UNKNOWN_ROWS
from xaicli.evaluate.scores import Curves, Scores
from xaicli.evaluate.whole import Together
from xaicli.run.plan import Answers, Function
from xaicli.specs import Spec

FEW = 8  # metrics that progress lists by name


@dataclass(frozen=True)
class Metric:
    """`label` names its columns: the metric, with `@baseline` where another than the default was asked for."""

    spec: Spec
    label: str

    @property
    def function(self) -> Function:
        """The metric itself."""
        return self.spec.method.load()

    @property
    def needs(self) -> list[str]:
        """Everything it rests on, roots included."""
        return EVALUATE.below(self.function)

    @property
    def is_proportion(self) -> bool:
        """Whether its values are 0 or 1."""
        return str(self.function.__annotations__.get("return")) == "Hits"

    @property
    def is_paired(self) -> bool:
        """Whether it compares two explainers, and is asked of each pair."""
        return "other" in self.needs

    @property
    def is_open(self) -> bool:
        """Whether it looks at rows of classes that the model does not know."""
        return not OF_UNKNOWN_ROWS.isdisjoint(self.needs)

    @property
    def columns(self) -> list[str]:
        """The names of its figures, the metric's own first."""
        return [self.label, *(f"{self.label}-{part}" for part in getattr(self.function, "parts", ()))]

    @property
    def together(self) -> Together | None:
        """What it says of all rows; None where that is the mean of each column."""
        return getattr(self.function, "together", None)

    def better(self, column: str) -> Better:
        """Which way of one of its columns is better."""
        own = better(self.spec.method.summary)
        others: Mapping[str, Better] = getattr(self.function, "better", {})
        return others.get(column.removeprefix(f"{self.label}-"), own) if column != self.label else own

    def points(self, size: int) -> int:
        """Points of its mean curve for images of so many pixels, 0 without one."""
        count = getattr(self.function, "points", None)
        if count is None:
            return 0
        names = inspect.signature(count).parameters
        return int(count(**{k: v for k, v in {**self.spec.options, "size": size}.items() if k in names}))

    def evaluate(self, answers: Answers) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its columns and its curve for the rows of a block, as numpy arrays."""
        key = answers.method_key(self.spec.name, self.spec.options)
        scores: Scores = answers.call(self.function, self.spec.options, key)
        figures = [scores.values, *scores.parts.values()]
        columns = {name: figure.float().cpu().numpy() for name, figure in zip(self.columns, figures, strict=True)}
        curves = {self.label: scores.curve.double().cpu().numpy()} if isinstance(scores, Curves) else {}
        return columns, curves


def title(metrics: Sequence[Metric]) -> str:
    """What progress calls them: all by name, if they are few."""
    labels = [metric.label for metric in metrics]
    return ", ".join(labels) if len(labels) <= FEW else f"{len(labels)} metrics"


def name_metrics(specs: Sequence[Spec]) -> list[Metric]:
    """Give every metric its label; two that differ in more than the baseline keep their whole specification."""
    labels = [_label(spec) for spec in specs]
    named = [
        Metric(spec, label if labels.count(label) == 1 else str(spec).replace("/", "|"))
        for spec, label in zip(specs, labels, strict=True)
    ]
    if len({metric.label for metric in named}) < len(named):
        raise UsageError("the same metric with the same options is given twice; give it once.")
    return named


def planned_forwards(
    metrics: Sequence[Metric],
    sources: int,
    size: int,
    subjects: int = 1,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Forwards per row of all metrics over so many explainers.

    subjects: pairs of a model and a target rule; what does not depend on the explainer counts once for each. facts:
    those of again.py, for metrics that ask the explainers again.
    """
    methods = [(metric.function, metric.spec.options) for metric in metrics]
    everything = EVALUATE.planned(methods, size, facts=facts)
    common = EVALUATE.planned(methods, size, without="attribution", facts=facts)
    return subjects * common + sources * (everything - common)


def used_quantity(metric: Metric) -> str | None:
    """The quantity a metric looked at, for its record; None for one that follows no output of the model."""
    for option in ("quantity", "score"):
        if option in metric.spec.options:
            return str(metric.spec.options[option])
    return getattr(metric.function, "quantity", None) or ("probability" if "masked" in metric.needs else None)


def _label(spec: Spec) -> str:
    baseline = spec.changed.get("baseline")
    return f"{spec.name}@{baseline}" if baseline else spec.name
