"""Explainers against the best of their run, row by row: Wilcoxon's signed ranks, adjusted by Holm for many pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xaicli.evaluate.statistics import Values
from xaicli.run.interval import FEWEST_ROWS, LEVEL


@dataclass(frozen=True)
class SignedRank:
    """A paired comparison: the two-sided p and the matched-pairs rank-biserial correlation."""

    p: float
    effect: float


@dataclass(frozen=True)
class Standing:
    """Where an explainer stands among those of its run by one metric; None where there is nothing to say.

    rank: 1 has the best mean; controls have none. p: of its paired difference from the best, Holm-adjusted. effect: the
    rank-biserial correlation of that difference, 1 better than the best on every row, -1 worse on every row. worse:
    p < 0.05 and a negative effect.
    """

    rank: int | None = None
    best: bool | None = None
    p: float | None = None
    effect: float | None = None
    worse: bool | None = None


def signed_rank(differences: Values) -> SignedRank:
    """Wilcoxon's test that paired differences are symmetric around 0, two-sided; ranks of zeros are split in halves.

    differences: [n], finite. Exact for up to 50 differences without ties and zeros, else the normal approximation with
    its tie correction (Wilcoxon, 1945; zeros as in Demsar, 2006). effect: (R+ - R-) / (R+ + R-) (Kerby, 2014).
    """
    if not differences.any():
        return SignedRank(1.0, 0.0)
    from scipy.stats import rankdata, wilcoxon

    ranks = rankdata(np.abs(differences))
    effect = float(np.sign(differences) @ ranks / ranks.sum())
    return SignedRank(float(wilcoxon(differences, zero_method="zsplit").pvalue), effect)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being so many, by stepping down (Holm, 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for step, number in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[number]))
        adjusted[number] = largest
    return adjusted


def stand(
    columns: Sequence[Values], means: Sequence[float | None], controls: Sequence[bool], sign: int
) -> list[Standing]:
    """Rank the explainers by their means and test each one, controls too, against the best.

    columns: per-row scores of each, [n], NaN where undefined; rows undefined for either are left out of a pair, and
    under 20 rows nothing is tested. sign: 1 where higher is better, -1 where lower is.
    """
    marks = [None if mean is None else sign * mean for mean in means]
    ranked = [mark for mark, control in zip(marks, controls, strict=True) if mark is not None and not control]
    if not ranked or len(columns) < 2:
        return [Standing() for _ in columns]
    top = max(ranked)
    first = next(n for n, mark in enumerate(marks) if mark == top and not controls[n])
    tests: dict[int, SignedRank] = {}
    for number, column in enumerate(columns):
        differences = sign * (column.astype(np.float64) - columns[first])
        differences = differences[np.isfinite(differences)]
        if number != first and len(differences) >= FEWEST_ROWS:
            tests[number] = signed_rank(differences)
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    found = []
    for number, mark in enumerate(marks):
        is_ranked = mark is not None and not controls[number]
        found.append(
            Standing(
                rank=1 + sum(other > mark for other in ranked) if is_ranked and mark is not None else None,
                best=mark == top if is_ranked else False,
                p=adjusted.get(number),
                effect=tests[number].effect if number in tests else None,
                worse=adjusted[number] < 1 - LEVEL and tests[number].effect < 0 if number in tests else None,
            )
        )
    return found
