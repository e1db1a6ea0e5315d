"""What a metric returns: one value per row; the annotation tells the store and the statistics what to expect.

`Scores` are averaged with a bootstrap interval, `Hits` are 0 or 1 and get a Clopper-Pearson interval, `Curves` are
scores that come with a curve whose mean over rows is kept. A value that is undefined for a row is NaN: counted, never
averaged in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from torch import Tensor

from xaicli.evaluate.direction import Better
from xaicli.evaluate.whole import Together

F = TypeVar("F", bound=Callable[..., Any])


def reports(
    *,
    parts: tuple[str, ...] = (),
    points: Callable[..., int] | None = None,
    better: Mapping[str, Better] = MappingProxyType({}),
    quantity: str | None = None,
    together: Together | None = None,
) -> Callable[[F], F]:
    """Declare a metric's further parts, and its curve's points as a function of its options and the image's size.

    better: the parts of which another way is better than of the metric, which its docstring names. quantity: what it
    looks at where that is no option. together: what is said of all rows where that is not the mean of each part.
    """

    def mark(function: F) -> F:
        function.parts = parts  # type: ignore[attr-defined]
        function.better = dict(better)  # type: ignore[attr-defined]
        function.points = points  # type: ignore[attr-defined]
        function.quantity = quantity  # type: ignore[attr-defined]
        function.together = together  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True)
class Scores:
    """Values [n]; `parts` are further figures of the same metric, stored as `metric-part`."""

    values: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Hits(Scores):
    """Values that are 0, 1 or NaN."""


@dataclass(frozen=True)
class Curves(Scores):
    """Scores with the curve [n, points] they were computed from."""

    curve: Tensor = field(kw_only=True)
