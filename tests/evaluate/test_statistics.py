"""Means, intervals and what is left out of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from xaicli.evaluate.statistics import Estimate, mean_estimate, mean_estimates, proportion_estimate, split_estimate
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


@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_the_bootstrap_interval_holds_the_mean_as_often_as_it_says(shape: str) -> None:
    """600 samples of 100 rows: 95 % less what percentile intervals lose at that size, and three standard errors."""
    rng = np.random.default_rng(11)
    samples = rng.normal(1, 2, (600, 100)) if shape == "normal" else rng.exponential(1, (600, 100))
    found = mean_estimates(list(samples))
    covered = np.mean([one.low <= 1 <= one.high for one in found])
    assert covered == pytest.approx(0.94, abs=0.03)
    missed = np.mean([one.high < 1 for one in found]), np.mean([one.low > 1 for one in found])
    assert min(missed) > 0.005  # on both sides


def test_clopper_pearson_holds_the_share_at_least_as_often_as_it_says() -> None:
    """Exactly, over all outcomes of 30 rows."""
    intervals = [proportion_estimate(np.r_[np.ones(hits), np.zeros(30 - hits)]) for hits in range(31)]
    for share in (0.02, 0.1, 0.5, 0.77):
        inside = [hits for hits, one in enumerate(intervals) if one.low <= share <= one.high]
        assert 0.95 <= binom.pmf(inside, 30, share).sum() < 0.999


def test_columns_are_resampled_alike_together_and_alone() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(2, 40))
    holes = np.where(np.arange(40) < 15, np.nan, second)
    together = mean_estimates([first, holes, second, second + 1, holes[:16]], seed=2)
    assert together == [mean_estimate(column, seed=2) for column in (first, holes, second, second + 1, holes[:16])]
    shifted = together[3]
    assert (shifted.low, shifted.high) == (
        pytest.approx(together[2].low + 1, abs=1e-12),
        pytest.approx(together[2].high + 1, abs=1e-12),
    )


def test_splits_have_students_interval() -> None:
    # quantiles of Student's t as tables print them: 4.303 with 2 degrees of freedom, 2.776 with 4
    found = split_estimate(np.array([1.0, 2.0, 3.0, np.nan]))
    assert (found.value, found.n, found.undefined) == (2, 3, 1)
    assert found.high - 2 == pytest.approx(4.303 / np.sqrt(3), abs=1e-3)
    five = split_estimate(np.array([0.9, 0.92, 0.91, 0.95, 0.87]))
    half = 2.776 * 0.02915 / np.sqrt(5)
    assert (five.low, five.high) == (pytest.approx(0.91 - half, abs=1e-4), pytest.approx(0.91 + half, abs=1e-4))
    assert split_estimate(np.array([0.5])) == Estimate(0.5, None, None, 1, 0)
    assert split_estimate(np.array([np.nan])) == Estimate(None, None, None, 0, 1)


def test_students_interval_holds_the_mean_of_few_splits() -> None:
    """A normal quantile in its place would hold it in 88 % of the cases with five splits."""
    samples = np.random.default_rng(5).normal(0, 1, (2000, 5))
    found = [split_estimate(sample) for sample in samples]
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)
