"""The interval of a proportion, wherever one is said."""

from __future__ import annotations

FEWEST_ROWS = 20  # no interval and no test below
LEVEL = 0.95


def clopper_pearson(hits: int, n: int) -> tuple[float, float] | tuple[None, None]:
    """The exact 95 % interval of a share of `hits` in n, or none below 20 rows (Clopper and Pearson, 1934)."""
    if n < FEWEST_ROWS:
        return None, None
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(LEVEL, method="exact")
    return float(interval.low), float(interval.high)
