"""How far confidence is from accuracy: both compared in bins of rows, which are equally wide or hold equally many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xaicli.evaluate.statistics import RESAMPLES, Estimate, Values
from xaicli.run.interval import FEWEST_ROWS, LEVEL
from xaicli.run.random import generator

Counts: TypeAlias = npt.NDArray[np.int64]
Placing: TypeAlias = Callable[[Values, Counts, int], Counts]
"""From confidences [m], ascending and each once, how many rows have each, and how many bins to the bin of each."""


def equal_width(levels: Values, counts: Counts, bins: int) -> Counts:
    """Bin b holds (b / bins, (b + 1) / bins], the first 0 as well (Guo et al., 2017)."""
    return np.searchsorted(np.arange(1, bins) / bins, levels).astype(np.int64)


def equal_mass(levels: Values, counts: Counts, bins: int) -> Counts:
    """Rows by confidence cut into bins of equally many (Nguyen and O'Connor, 2015).

    Equal confidences stay together, in the bin that holds their middle: the order of rows does not matter.
    """
    middle = 2 * np.cumsum(counts) - counts
    place: Counts = np.minimum(middle * bins // (2 * counts.sum()), bins - 1)
    return place


def error_estimate(confidence: Values, right: Values, placing: Placing, bins: int, *, seed: int = 0) -> Estimate:
    """The expected calibration error: the mean over rows of |accuracy - mean confidence| of their bin.

    confidence, right: [n], in [0, 1] and 0 or 1; rows where one is NaN are left out. With a basic bootstrap interval
    over rows, which are put into bins anew each time: resampled rows err by more than the rows themselves do, as those
    do by more than the model, so the distance between them is taken off and not added (Davison and Hinkley, 1997).
    """
    defined = np.isfinite(confidence) & np.isfinite(right)
    n = int(defined.sum())
    undefined = len(confidence) - n
    if n == 0:
        return Estimate(None, None, None, 0, undefined)
    kept = confidence[defined].astype(np.float64)
    gaps = right[defined] - kept
    levels, place = np.unique(kept, return_inverse=True)

    def error(times: Counts) -> float:
        counts = np.bincount(place, times).astype(np.int64)
        within = placing(levels, counts, bins)
        return float(np.abs(np.bincount(within, np.bincount(place, times * gaps))).sum()) / n

    value = error(np.ones(n, dtype=np.int64))
    if n < FEWEST_ROWS:
        return Estimate(value, None, None, n, undefined)
    rng = generator(seed, f"bootstrap:{n}")
    drawn = [error(np.bincount(rng.integers(n, size=n), minlength=n)) for _ in range(RESAMPLES)]
    most, least = (2 * value - float(bound) for bound in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Estimate(value, max(least, 0.0), max(most, 0.0), n, undefined)


def reliability(confidence: Values, right: Values, bins: int) -> list[dict[str, Any]]:
    """The reliability diagram: of each bin of equal width that is not empty, its rows and what they say on average."""
    defined = np.isfinite(confidence) & np.isfinite(right)
    said, hits = confidence[defined].astype(np.float64), right[defined].astype(np.float64)
    within = equal_width(said, np.ones(len(said), dtype=np.int64), bins)
    return [
        {
            "bin": int(number),
            "n": int((own := within == number).sum()),
            "confidence": float(said[own].mean()),
            "accuracy": float(hits[own].mean()),
        }
        for number in np.unique(within)
    ]
