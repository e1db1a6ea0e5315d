"""Accuracy against epsilon: what privacy has cost models of the same data and architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from xaicli.files.checkpoint_meta import CheckpointMeta
from xaicli.report.comparison import INK
from xaicli.report.figure import blank, drawn
from xaicli.run.interval import student

CAPTION = "Accuracy on test data against epsilon: means over trainings with their 95 % interval, and every training."
COLOURS = ("#2a9d8f", "#e76f51", "#4a4e69", "#e9c46a", "#7b2cbf")


@dataclass(frozen=True)
class Budget:
    """The trainings of one data set and architecture with one epsilon; infinite for those without privacy."""

    of: str
    epsilon: float
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the trainings."""
        return math.fsum(self.accuracies) / len(self.accuracies)

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """Of the mean over trainings, 95 %."""
        return student(self.accuracies)


def budgets(metas: Sequence[CheckpointMeta]) -> list[Budget]:
    """The trainings by data set and epsilon, ascending; none unless private ones differ in their epsilon."""
    found: dict[tuple[str, float], list[float]] = {}
    for meta in metas:
        if "test_accuracy" not in meta.metrics or meta.data is None:
            continue
        of = f"{meta.data['name']}, {meta.arch['name']}"
        found.setdefault((of, _asked(meta)), []).append(float(meta.metrics["test_accuracy"]))
    if len({epsilon for _, epsilon in found if math.isfinite(epsilon)}) < 2:
        return []
    return [Budget(of, epsilon, tuple(sorted(values))) for (of, epsilon), values in sorted(found.items())]


def budget_facts(found: Sequence[Budget]) -> dict[str, str]:
    """A line for each: the mean over trainings, its interval, and how many there were."""
    facts = {}
    for one in found:
        low, high = one.interval
        bounds = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
        count = len(one.accuracies)
        what = f"epsilon {one.epsilon:g}" if math.isfinite(one.epsilon) else "without privacy"
        facts[f"{one.of}, {what}"] = (
            f"{100 * one.mean:.1f} %{bounds}, {count} {'training' if count == 1 else 'trainings'}"
        )
    return facts


def budget_picture(found: Sequence[Budget]) -> Image.Image:
    """A line for each data set and architecture over the logarithm of epsilon; dashed what it is without privacy."""
    figure = blank(6, 3.6)
    axes = figure.add_subplot()
    for number, of in enumerate(dict.fromkeys(one.of for one in found)):
        _draw(axes, of, [one for one in found if one.of == of], COLOURS[number % len(COLOURS)])
    ticks = sorted({one.epsilon for one in found if math.isfinite(one.epsilon)})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, 0), min(top, 1))  # intervals of two or three trainings are wide
    axes.set_xlabel("epsilon", color=INK)
    axes.set_ylabel("accuracy", color=INK)
    axes.legend(frameon=False, fontsize=8)
    return drawn(figure)


def _asked(meta: CheckpointMeta) -> float:
    """The epsilon that was asked for, or else the one that was spent."""
    if meta.privacy is None:
        return math.inf
    epsilon = meta.privacy.get("target_epsilon") or meta.privacy.get("epsilon")
    return math.inf if epsilon is None else float(epsilon)


def _draw(axes: Any, of: str, mine: Sequence[Budget], colour: str) -> None:
    private = [one for one in mine if math.isfinite(one.epsilon)]
    axes.plot([one.epsilon for one in private], [one.mean for one in private], color=colour, label=of)
    for one in private:
        axes.plot([one.epsilon] * len(one.accuracies), one.accuracies, ".", color=colour, markersize=4)
        low, high = one.interval
        if low is not None:
            axes.plot([one.epsilon, one.epsilon], [low, high], color=colour, linewidth=1)
    for one in mine:
        if math.isinf(one.epsilon):
            axes.axhline(one.mean, color=colour, linestyle="--", linewidth=1)
