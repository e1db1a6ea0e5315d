"""Calibration errors against scikit-learn's bins and against brute force, with ties and at the edges of bins."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from xaicli.evaluate.reliability import equal_mass, equal_width, error_estimate, reliability
from xaicli.run.random import generator

BINS = 15
TWENTIETHS = st.tuples(st.integers(0, 20), st.booleans())  # a confidence, and whether it was right
ROWS = st.lists(TWENTIETHS, min_size=1, max_size=19)  # too few for an interval


def some_rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.beta(5, 2, n)
    return confidence, (rng.random(n) < confidence**1.5).astype(float)


def exact(rows: list[tuple[int, bool]], bin_of: list[int]) -> Fraction:
    """The mean over bins by their rows of |accuracy - confidence|, in whole numbers."""
    error = Fraction(0)
    for number in set(bin_of):
        own = [row for row, place in zip(rows, bin_of, strict=True) if place == number]
        said, right = sum(Fraction(c, 20) for c, _ in own), sum(hit for _, hit in own)
        error += Fraction(len(own), len(rows)) * abs(said / len(own) - Fraction(right, len(own)))
    return error


def columns(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c / 20 for c, _ in rows]), np.array([float(hit) for _, hit in rows])


@pytest.mark.parametrize("n", [30, 600, 15_000])
def test_the_errors_are_those_of_scikit_learns_curves(n: int) -> None:
    confidence, right = some_rows(n)
    accuracy, said = calibration_curve(right, confidence, n_bins=BINS, strategy="uniform")
    edges = np.arange(BINS + 1) / BINS
    rows = np.array([((confidence > a) & (confidence <= b)).sum() for a, b in pairwise(edges)])
    expected = (rows[rows > 0] * np.abs(accuracy - said)).sum() / n
    assert error_estimate(confidence, right, equal_width, BINS).value == pytest.approx(expected, abs=1e-12)
    accuracy, said = calibration_curve(right, confidence, n_bins=BINS, strategy="quantile")  # n / 15 rows in each
    adaptive = error_estimate(confidence, right, equal_mass, BINS).value
    assert adaptive == pytest.approx(np.abs(accuracy - said).mean(), abs=1e-12)


@settings(deadline=None)
@given(ROWS, st.sampled_from([1, 2, 3, 5, 15]))
def test_bins_of_equal_width_are_open_below_and_closed_above(rows: list[tuple[int, bool]], bins: int) -> None:
    places = [max(-(-c * bins // 20) - 1, 0) for c, _ in rows]
    assert error_estimate(*columns(rows), equal_width, bins).value == pytest.approx(
        float(exact(rows, places)), abs=1e-12
    )


@settings(deadline=None)
@given(ROWS, st.sampled_from([1, 2, 3, 5, 15]), st.randoms())
def test_equal_confidences_share_a_bin_in_any_order(rows: list[tuple[int, bool]], bins: int, random: object) -> None:
    places = []
    for c, _ in rows:
        below, own = sum(other < c for other, _ in rows), sum(other == c for other, _ in rows)
        places.append(int((below + Fraction(own, 2)) * bins / len(rows)))  # the bin that the middle of them lies in
    expected = pytest.approx(float(exact(rows, places)), abs=1e-12)
    assert error_estimate(*columns(rows), equal_mass, bins).value == expected
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert error_estimate(*columns(rows), equal_mass, bins).value == expected


def test_bins_of_equal_mass_hold_equally_many_rows() -> None:
    levels = np.sort(np.random.default_rng(1).random(100))
    held = np.bincount(equal_mass(levels, np.ones(100, dtype=np.int64), BINS))
    assert len(held) == BINS and {*held} == {6, 7} and held.sum() == 100


@pytest.mark.parametrize("placing", [equal_width, equal_mass])
def test_errors_in_closed_form(placing: object) -> None:
    right = np.repeat([1.0, 0.0], [30, 10])
    for confidence, error in [(0.75, 0.0), (1.0, 0.25), (0.5, 0.25), (0.0, 0.75)]:  # the same for all rows
        found = error_estimate(np.full(40, confidence), right, placing, BINS)  # type: ignore[arg-type]
        assert found.value == pytest.approx(error, abs=1e-15)
    assert error_estimate(right, right, placing, BINS).value == 0  # type: ignore[arg-type]
    assert error_estimate(1 - right, right, placing, BINS).value == 1  # type: ignore[arg-type]


def test_the_interval_is_that_of_resampled_rows_put_into_bins_anew() -> None:
    confidence, right = some_rows(90, seed=3)
    confidence = confidence.round(1)
    for placing in (equal_width, equal_mass):
        found = error_estimate(confidence, right, placing, BINS, seed=5)
        rng = generator(5, "bootstrap:90")
        errors = []
        for _ in range(1000):
            rows = rng.integers(90, size=90)
            levels, place, counts = np.unique(confidence[rows], return_inverse=True, return_counts=True)
            within = placing(levels, counts, BINS)[place]
            gaps = right[rows] - confidence[rows]
            errors.append(sum(abs(gaps[within == number].sum()) for number in range(BINS)) / 90)
        assert found.value is not None
        basic = np.maximum(2 * found.value - np.quantile(errors, [0.975, 0.025]), 0)
        assert [found.low, found.high] == pytest.approx(basic, abs=1e-12)
    few = error_estimate(confidence[:19], right[:19], equal_width, BINS)
    assert few.value is not None and few.low is few.high is None and few.n == 19


def test_the_interval_of_a_calibrated_model_does_not_lie_above_its_error() -> None:
    outside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.3, 1, 300)
        found = error_estimate(confidence, (rng.uniform(size=300) < confidence).astype(float), equal_width, BINS)
        assert found.value is not None and found.low is not None
        outside += found.low > found.value
    assert outside == 0  # the percentile interval does so in a quarter of the runs


def test_rows_without_a_class_are_left_out_and_none_is_no_error() -> None:
    confidence, right = some_rows(50)
    gaps = np.where(np.arange(50) % 5 == 0, np.nan, right)
    kept = np.isfinite(gaps)
    others = error_estimate(confidence[kept], right[kept], equal_width, BINS)
    assert error_estimate(confidence, gaps, equal_width, BINS) == replace(others, undefined=10) and others.n == 40
    nothing = error_estimate(np.full(4, np.nan), right[:4], equal_width, BINS)
    assert (nothing.value, nothing.n, nothing.undefined) == (None, 0, 4) and reliability(gaps * np.nan, gaps, 9) == []


def test_the_diagram_says_what_the_error_is_made_of() -> None:
    confidence, right = some_rows(400)
    bins = reliability(confidence, right, 10)
    assert [one["bin"] for one in bins] == sorted({int(np.ceil(c * 10)) - 1 for c in confidence})
    error = sum(one["n"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / 400
    assert error_estimate(confidence, right, equal_width, 10).value == pytest.approx(error, abs=1e-12)
    top = next(one for one in bins if one["bin"] == 9)
    own = confidence > 0.9
    assert (top["n"], top["accuracy"]) == (own.sum(), right[own].mean())
    assert top["confidence"] == pytest.approx(confidence[own].mean(), abs=1e-15)
