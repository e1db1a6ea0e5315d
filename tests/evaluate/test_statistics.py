"""Means, intervals and what is left out of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from xaicli.evaluate.statistics import Estimate, mean_estimate, proportion_estimate
from xaicli.run.random import generator


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # exact 95 % limits as printed in tables (Documenta Geigy), to the digits given there
        (0, 20, 0.0, 0.1684),
        (5, 20, 0.0866, 0.4910),
        (10, 20, 0.2720, 0.7280),
        (20, 20, 0.8316, 1.0),
        (50, 100, 0.3983, 0.6017),
        (1, 100, 0.0003, 0.0545),
    ],
)
def test_clopper_pearson(hits: int, n: int, low: float, high: float) -> None:
    values = np.r_[np.ones(hits), np.zeros(n - hits), np.full(3, np.nan)]
    found = proportion_estimate(values)
    assert (found.value, found.n, found.undefined) == (hits / n, n, 3)
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))
    exact_low = 0.0 if hits == 0 else beta.ppf(0.025, hits, n - hits + 1)
    exact_high = 1.0 if hits == n else beta.ppf(0.975, hits + 1, n - hits)
    assert (found.low, found.high) == (pytest.approx(exact_low, abs=1e-10), pytest.approx(exact_high, abs=1e-10))


def test_the_bootstrap_against_its_own_loop() -> None:
    values = np.random.default_rng(1).exponential(size=30).astype(np.float32)
    with_holes = np.r_[values[:7], np.nan, values[7:], np.inf]
    found = mean_estimate(with_holes, seed=5)
    rng = generator(5, "bootstrap:30")
    kept = values.astype(np.float64)
    means = []
    for _ in range(1000):
        picks = rng.integers(30, size=30)
        means.append(sum(kept[i] for i in picks) / 30)
    means.sort()

    def percentile(q: float) -> float:  # linear between order statistics
        place = q * 999
        below = int(place)
        return means[below] + (place - below) * (means[below + 1] - means[below])

    assert found.value == pytest.approx(kept.mean(), abs=1e-15)
    assert found.low == pytest.approx(percentile(0.025), abs=1e-12)
    assert found.high == pytest.approx(percentile(0.975), abs=1e-12)
    assert (found.n, found.undefined) == (30, 2)


def test_the_bootstrap_covers_like_the_normal_interval_of_a_mean() -> None:
    values = np.random.default_rng(2).normal(3, 2, size=400)
    found = mean_estimate(values)
    half = 1.96 * values.std() / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_no_interval_under_twenty_rows_and_none_at_all_without_rows() -> None:
    nineteen = np.r_[np.ones(10), np.zeros(9)]
    assert mean_estimate(nineteen) == Estimate(pytest.approx(10 / 19), None, None, 19, 0)
    assert proportion_estimate(nineteen) == Estimate(10 / 19, None, None, 19, 0)
    for estimate in (mean_estimate, proportion_estimate):
        assert estimate(np.full(4, np.nan)) == Estimate(None, None, None, 0, 4)
