"""What a model gets wrong of the share of rows that it is surest of."""

from __future__ import annotations

import numpy as np

from xaicli.evaluate.statistics import RESAMPLES, Estimate, Values
from xaicli.evaluate.whole import Bits
from xaicli.run.interval import FEWEST_ROWS, LEVEL
from xaicli.run.random import generator


def selective_risk(confidence: Values, right: Bits) -> Values:
    """Share of errors among the k surest rows, for k = 1 to n, where the coverage is k / n (El-Yaniv and Wiener, 2010).

    confidence: finite, [n]. right: bool [n]. Rows that are equally sure come in any order: their mean over all orders.
    """
    levels = np.unique(-confidence, return_inverse=True)[1]  # the surest first
    sizes = np.bincount(levels)
    expected = np.bincount(levels, weights=~right) / sizes  # errors of one row of each level
    risk: Values = np.repeat(expected, sizes).cumsum() / np.arange(1, len(levels) + 1)
    return risk


def area_under_risk(confidence: Values, right: Bits, *, seed: int = 0) -> Estimate:
    """Mean of the selective risk over all coverages, AURC, lower is better (Geifman et al., 2019).

    With a percentile bootstrap interval over rows.
    """
    n = len(confidence)
    if not n:
        return Estimate(None, None, None, 0, 0)
    value = float(selective_risk(confidence, right).mean())
    if n < FEWEST_ROWS:
        return Estimate(value, None, None, n, 0)
    rng = generator(seed, f"bootstrap:{n}")
    drawn = []
    for _ in range(RESAMPLES):
        rows = rng.integers(n, size=n)
        drawn.append(selective_risk(confidence[rows], right[rows]).mean())
    low, high = (float(bound) for bound in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Estimate(value, low, high, n, 0)
