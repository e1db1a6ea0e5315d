"""The threshold against brute force, and the rate that it promises."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaicli.errors import InputError, UsageError
from xaicli.run.interval import clopper_pearson
from xaicli.run.threshold import threshold_at

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30).map(np.array)


@settings(deadline=None)
@given(SCORES, st.sampled_from([0.01, 0.5, 0.75, 0.9, 0.95, 1.0]))
def test_no_larger_threshold_keeps_as_many(scores: np.ndarray, tpr: float) -> None:
    found = threshold_at(scores, tpr=tpr)
    allowed = [one for one in scores if np.mean(scores >= one) >= tpr - 1e-12]
    assert found.value == max(allowed)
    assert (found.kept, found.rows) == (found.keeps(scores).sum(), len(scores))
    assert (found.low, found.high) == clopper_pearson(found.kept, found.rows)


@pytest.mark.parametrize(("rows", "kept"), [(20, 19), (100, 95), (101, 96), (19, 19), (1000, 950), (1, 1)])
def test_so_many_of_different_scores_are_kept(rows: int, kept: int) -> None:
    found = threshold_at(np.random.default_rng(0).permutation(rows) * 0.1)
    assert (found.kept, found.value) == (kept, 0.1 * (rows - kept))


def test_a_product_that_rounds_up_asks_for_no_further_row() -> None:
    assert 0.55 * 100 > 55 and threshold_at(np.arange(100.0), tpr=0.55).kept == 55


def test_it_is_one_sided_so_that_over_confident_known_images_are_kept() -> None:
    """Seed 000 kept what lay between two quantiles, and refused the known images that its network was surest of."""
    scores = np.arange(1000.0)
    low, high = np.quantile(scores, [0.025, 0.975])
    assert not (scores[-25:] <= high).any() and ((scores >= low) & (scores <= high)).mean() == 0.95
    found = threshold_at(scores)
    assert found.keeps(scores[-25:]).all() and found.keeps(np.array([1e30, np.inf])).all()
    assert found.value == 50 and found.kept == 950 and not found.keeps(scores[:50]).any()


def test_a_score_that_is_no_number_is_refused() -> None:
    assert threshold_at(np.arange(20.0)).keeps(np.array([np.nan, -np.inf, 5.0])).tolist() == [False, False, True]


def test_the_rate_on_fresh_rows_lies_in_the_interval() -> None:
    """Of normal scores the share that a threshold keeps is known; a 95 % interval misses it in 5 % of the cases."""
    rng, normal = np.random.default_rng(8), NormalDist()
    inside, rates = 0, []
    for _ in range(300):
        found = threshold_at(rng.standard_normal(400))
        rates.append(1 - normal.cdf(found.value))
        inside += found.low <= rates[-1] <= found.high
    assert 0.93 <= inside / 300 <= 0.99
    assert np.mean(rates) == pytest.approx(380 / 401, abs=1.5e-3)  # the mean of Beta(380, 21)
    assert np.std(rates) == pytest.approx(np.sqrt(380 * 21 / (401**2 * 402)), rel=0.1)


def test_the_threshold_is_a_score_of_float32_as_it_is() -> None:
    scores = np.random.default_rng(2).random(200, dtype=np.float32)
    found = threshold_at(scores)
    assert np.float32(found.value) == found.value and found.kept == 190


@pytest.mark.parametrize("tpr", [0.0, -0.5, 1.01, float("nan")])
def test_no_share_is_a_usage_error(tpr: float) -> None:
    with pytest.raises(UsageError, match="no share"):
        threshold_at(np.arange(30.0), tpr=tpr)


@pytest.mark.parametrize("scores", [[], [1.0, np.nan, 2.0], [np.inf]])
def test_scores_that_say_nothing_are_refused(scores: list[float]) -> None:
    with pytest.raises(InputError, match="finite scores of known rows"):
        threshold_at(np.array(scores))
