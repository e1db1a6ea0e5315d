"""How far scores tell members from others: true positives at few false ones, the area, one threshold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from xaicli.evaluate.statistics import RESAMPLES, Estimate, Values
from xaicli.run.interval import FEWEST_ROWS, LEVEL, clopper_pearson
from xaicli.run.random import generator

Counts = npt.NDArray[np.int64]


def true_positives(members: Values, others: Values, share: float) -> Estimate:
    """Share of members above a threshold that at most this share of the others exceeds (Carlini et al., 2022).

    Equal scores stand on the same side. The interval is Clopper-Pearson's at that threshold. Undefined where a single
    one of the others is a larger share of them: so few false positives cannot be seen.
    """
    allowed = int(share * len(others) + 1e-9)
    if not allowed or not len(members):
        return Estimate(None, None, None, len(members), 0)
    barrier = np.sort(others)[-1 - allowed] if allowed < len(others) else -np.inf
    hits = int((members > barrier).sum())
    low, high = clopper_pearson(hits, len(members))
    return Estimate(hits / len(members), low, high, len(members), 0)


def area(members: Values, others: Values, *, seed: int = 0) -> Estimate:
    """The probability that a member scores higher than another, equals counting half (Hanley and McNeil, 1982).

    With a percentile bootstrap interval over members and others apart.
    """
    return over_levels(area_of, members, others, seed=seed)


def over_levels(
    figure: Callable[[Counts, Counts], float], members: Values, others: Values, *, seed: int = 0
) -> Estimate:
    """A figure that depends on the order of the scores alone, with a percentile bootstrap interval.

    figure: from how many members and how many others have each of the scores, in ascending order. Members and others
    are resampled apart.
    """
    return all_over_levels(lambda above, below: [figure(above, below)], members, others, count=1, seed=seed)[0]


def all_over_levels(
    figures: Callable[[Counts, Counts], list[float]], members: Values, others: Values, *, count: int, seed: int = 0
) -> list[Estimate]:
    """So many figures of the same resampled rows, each as it would be alone."""
    total = len(members) + len(others)
    if not len(members) or not len(others):
        return [Estimate(None, None, None, total, 0)] * count
    places = np.unique(np.concatenate([members, others]), return_inverse=True)[1]
    above, below = places[: len(members)], places[len(members) :]
    levels = int(places.max()) + 1
    values = figures(np.bincount(above, minlength=levels), np.bincount(below, minlength=levels))
    if min(len(members), len(others)) < FEWEST_ROWS:
        return [Estimate(value, None, None, total, 0) for value in values]
    rng = generator(seed, f"bootstrap:{len(members)}:{len(others)}")
    drawn = [figures(_resampled(above, levels, rng), _resampled(below, levels, rng)) for _ in range(RESAMPLES)]
    lows, highs = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [
        Estimate(value, float(low), float(high), total, 0) for value, low, high in zip(values, lows, highs, strict=True)
    ]


def balanced_accuracy(members: Values, others: Values, *, seed: int = 0) -> Estimate:
    """Mean of the share of members that score over 0 and the share of others that do not; interval as for the area."""
    return area((members > 0).astype(float), (others > 0).astype(float), seed=seed)


def area_of(members: Counts, others: Counts) -> float:
    """From how many of each have each of the scores, in ascending order."""
    lower = np.cumsum(others) - others
    return float((members * (lower + others / 2)).sum() / (members.sum() * others.sum()))


def _resampled(places: Counts, levels: int, rng: np.random.Generator) -> Counts:
    return np.bincount(places[rng.integers(len(places), size=len(places))], minlength=levels)
