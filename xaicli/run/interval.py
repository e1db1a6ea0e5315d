"""Intervals, wherever one is said: of a proportion, and of a mean over trainings or splits."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

FEWEST_ROWS = 20  # no interval and no test below
LEVEL = 0.95


def clopper_pearson(hits: int, n: int) -> tuple[float, float] | tuple[None, None]:
    """The exact 95 % interval of a share of `hits` in n, or none below 20 rows (Clopper and Pearson, 1934)."""
    if n < FEWEST_ROWS:
        return None, None
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(LEVEL, method="exact")
    return float(interval.low), float(interval.high)


def student(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of the mean of independent repetitions, or none of a single one (Student, 1908)."""
    if len(values) < 2:
        return None, None
    from scipy.stats import t

    mean = statistics.fmean(values)
    reach = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - reach, mean + reach
