"""Means with intervals: percentile bootstrap over rows, Clopper-Pearson for proportions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.run.random import generator

RESAMPLES = 1000
FEWEST_ROWS = 20  # no interval below
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over the defined rows with its 95 % interval (None where there is none)."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    undefined: int


def mean_estimate(values: npt.NDArray[np.floating[Any]], *, seed: int = 0) -> Estimate:
    """Mean of the finite values with a percentile bootstrap interval over rows (1,000 seeded resamples).

    The resampled rows depend on the number of rows alone, so that methods scored on the same rows are resampled alike.
    """
    kept = values[np.isfinite(values)].astype(np.float64)
    undefined = len(values) - len(kept)
    if len(kept) == 0:
        return Estimate(None, None, None, 0, undefined)
    value = float(kept.mean())
    if len(kept) < FEWEST_ROWS:
        return Estimate(value, None, None, len(kept), undefined)
    rng = generator(seed, f"bootstrap:{len(kept)}")
    means = np.empty(RESAMPLES)
    for resample in range(RESAMPLES):
        means[resample] = kept[rng.integers(len(kept), size=len(kept))].mean()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), len(kept), undefined)


def proportion_estimate(values: npt.NDArray[np.floating[Any]]) -> Estimate:
    """Share of ones among the finite values with its Clopper-Pearson interval (Clopper and Pearson, 1934)."""
    kept = values[np.isfinite(values)]
    undefined = len(values) - len(kept)
    if len(kept) == 0:
        return Estimate(None, None, None, 0, undefined)
    hits = int(np.rint(kept.sum()))
    if len(kept) < FEWEST_ROWS:
        return Estimate(hits / len(kept), None, None, len(kept), undefined)
    from scipy.stats import binomtest

    interval = binomtest(hits, len(kept)).proportion_ci(LEVEL, method="exact")
    return Estimate(hits / len(kept), float(interval.low), float(interval.high), len(kept), undefined)
