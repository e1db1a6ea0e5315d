"""Means with intervals: percentile bootstrap over rows, Clopper-Pearson for proportions, Student's t over splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xaicli.run.interval import FEWEST_ROWS, LEVEL, clopper_pearson, student
from xaicli.run.random import generator

RESAMPLES = 1000
AT_ONCE = 1 << 17  # rows of resamples that are held together

Values: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Estimate:
    """A mean over the defined rows with its 95 % interval (None where there is none)."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    undefined: int


def mean_estimate(values: Values, *, seed: int = 0) -> Estimate:
    """Mean of the finite values with a percentile bootstrap interval over rows (1,000 seeded resamples)."""
    return mean_estimates([values], seed=seed)[0]


def mean_estimates(columns: Sequence[Values], *, seed: int = 0) -> list[Estimate]:
    """Each column's mean of the finite values, with a percentile bootstrap interval over rows (Efron, 1979).

    The resampled rows depend on the number of rows alone, so that methods scored on the same rows are resampled alike.
    """
    kept = [column[np.isfinite(column)].astype(np.float64) for column in columns]
    means: dict[int, Values] = {}
    for n in {len(values) for values in kept if len(values) >= FEWEST_ROWS}:
        members = [number for number, values in enumerate(kept) if len(values) == n]
        means |= zip(members, _resampled_means([kept[number] for number in members], n, seed), strict=True)
    estimates = []
    for number, (values, column) in enumerate(zip(kept, columns, strict=True)):
        value = float(values.mean()) if len(values) else None
        low = high = None
        if number in means:
            low, high = (float(bound) for bound in np.quantile(means[number], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        estimates.append(Estimate(value, low, high, len(values), len(column) - len(values)))
    return estimates


def _resampled_means(columns: Sequence[Values], n: int, seed: int) -> Values:
    """The mean of each column, all of n values, over the same resampled rows: [columns, 1,000]."""
    rng = generator(seed, f"bootstrap:{n}")
    means = np.empty((len(columns), RESAMPLES))
    step = max(1, AT_ONCE // n)
    for start in range(0, RESAMPLES, step):
        part = slice(start, min(start + step, RESAMPLES))
        times = np.stack([_times_drawn(rng, n) for _ in range(part.start, part.stop)])
        for number, values in enumerate(columns):
            means[number, part] = (times * values).sum(1) / n  # no matrix product: its bits depend on threads
    return means


def _times_drawn(rng: np.random.Generator, n: int) -> Values:
    """How often each of n rows is drawn in n draws."""
    return np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)


def proportion_estimate(values: Values) -> Estimate:
    """Share of ones among the finite values with its Clopper-Pearson interval (Clopper and Pearson, 1934)."""
    kept = values[np.isfinite(values)]
    undefined = len(values) - len(kept)
    if len(kept) == 0:
        return Estimate(None, None, None, 0, undefined)
    hits = int(np.rint(kept.sum()))
    low, high = clopper_pearson(hits, len(kept))
    return Estimate(hits / len(kept), low, high, len(kept), undefined)


def split_estimate(values: Values) -> Estimate:
    """Mean over splits or seeds with Student's t interval (Student, 1908): few values, each one a whole run."""
    kept = values[np.isfinite(values)].astype(np.float64)
    n, undefined = len(kept), len(values) - len(kept)
    value = float(kept.mean()) if n else None
    low, high = student(kept.tolist())
    return Estimate(value, low, high, n, undefined)
