"""The bound of Steinke, Nasr and Jagielski (2023): printed figures, exact sums, and mechanisms of known epsilon."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import comb, exp, log

import numpy as np
import pytest

from xaicli.evaluate.audit import right_guesses, usual_guesses
from xaicli.evaluate.one_run import lower_bound, p_value

TRIALS = 2000
bound_of = cache(lower_bound)


def pmf(count: int, guesses: int, share: Fraction) -> Fraction:
    return comb(guesses, count) * share**count * (1 - share) ** (guesses - count)


def tail(low: int, guesses: int, share: Fraction) -> Fraction:
    return sum((pmf(count, guesses, share) for count in range(max(low, 0), guesses + 1)), Fraction(0))


def share_of(epsilon: float) -> Fraction:
    return Fraction(1 / (1 + exp(-epsilon)))


@pytest.mark.parametrize(
    ("m", "guesses", "right", "delta", "expected"),
    [(1000, 100, 75, 1e-4, 0.673), (100_000, 1510, 1439, 1e-5, 2.675)],  # appendix D, and section 7
)
def test_the_bounds_that_the_paper_prints(m: int, guesses: int, right: int, delta: float, expected: float) -> None:
    assert lower_bound(m, guesses, right, delta) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, log(3), 2.5])
@pytest.mark.parametrize(("m", "guesses", "delta"), [(30, 30, 0.0), (30, 12, 1e-3), (50, 21, 1e-2), (8, 1, 1e-4)])
def test_p_values_are_exact_sums(m: int, guesses: int, delta: float, epsilon: float) -> None:
    share = share_of(epsilon)
    for right in range(guesses + 1):
        between = (
            (tail(right - i, guesses, share) - tail(right, guesses, share)) / i for i in range(1, m + 1)
        )  # all i of the theorem, also those that change nothing
        exact = tail(right, guesses, share) + 2 * m * Fraction(delta) * max(between)
        assert p_value(m, guesses, right, epsilon, delta) == pytest.approx(min(float(exact), 1), rel=1e-9)


@pytest.mark.parametrize(("m", "expected"), [(100, 3.5), (1000, 5.8)])
def test_guesses_that_are_all_right_prove_a_closed_form(m: int, expected: float) -> None:
    share = 0.05 ** (1 / m)
    assert lower_bound(m, m, m, 0) == pytest.approx(log(share / (1 - share)), abs=1e-9)
    assert lower_bound(m, m, m, 0) == pytest.approx(expected, abs=0.05)


def test_the_bound_is_where_the_p_value_crosses() -> None:
    for m, guesses, right, delta in [(100, 60, 50, 0.0), (100, 60, 50, 1e-4), (400, 80, 80, 1e-3)]:
        bound = lower_bound(m, guesses, right, delta)
        assert p_value(m, guesses, right, bound - 1e-6, delta) < 0.05 < p_value(m, guesses, right, bound + 1e-6, delta)
        assert all(p_value(m, guesses, right, epsilon, delta) < 0.05 for epsilon in np.linspace(0, bound - 1e-6, 50))
    assert lower_bound(100, 60, 36, 0) == 0 and p_value(100, 60, 36, 0, 0) > 0.05
    assert lower_bound(100, 60, 0, 1e-5) == 0 and lower_bound(10, 1, 1, 0) == 0
    assert lower_bound(1000, 250, 250, 0.9) == 0  # nothing can be proved of a promise that fails nine times out of ten


def test_more_right_guesses_prove_more_and_a_weaker_promise_less() -> None:
    rights = [lower_bound(200, 80, right, 1e-4) for right in range(81)]
    assert rights == sorted(rights) and rights[50] < rights[60] < rights[70] < rights[80]
    for bounds in (
        [lower_bound(200, 80, 70, delta) for delta in (0, 1e-6, 1e-4, 1e-3, 1e-2)],
        [lower_bound(m, 80, 70, 1e-4) for m in (80, 200, 1000, 5000)],
        [lower_bound(200, 80, 70, 1e-4, confidence) for confidence in (0.5, 0.9, 0.95, 0.99)],
        [lower_bound(1000, guesses, guesses, 1e-6) for guesses in (1000, 500, 250, 20)],
        [lower_bound(200, guesses, 60, 1e-4) for guesses in (60, 70, 80, 100)],
    ):
        assert all(more > less for more, less in pairwise(bounds))


@pytest.mark.parametrize("epsilon", [0.2, 1.0, 3.0])
def test_of_randomised_response_the_bound_is_too_large_one_time_in_twenty(epsilon: float) -> None:
    """Every bit is told with probability e^epsilon / (1 + e^epsilon), else its contrary: the bound should be tight."""
    m = 300
    rng = np.random.default_rng(7)
    truth = rng.integers(2, size=(TRIALS, m)).astype(bool)
    told = truth ^ (rng.random((TRIALS, m)) > share_of(epsilon))
    bounds = [
        bound_of(m, 75, int(right_guesses(scores.astype(float), bits, usual_guesses(m)).sum()), 0.0)
        for scores, bits in zip(told, truth, strict=True)
    ]
    wrong = np.mean(np.array(bounds) > epsilon)
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / TRIALS)
    exact = sum(pmf(right, 75, share_of(epsilon)) for right in range(76) if bound_of(m, 75, right, 0.0) > epsilon)
    assert exact <= 0.05 and wrong == pytest.approx(float(exact), abs=3 * np.sqrt(0.05 * 0.95 / TRIALS))
    assert np.mean(bounds) > 0.5 * epsilon - 0.1  # and no bound that is always 0 would do


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_delta_pays_for_a_mechanism_that_now_and_then_tells_some_bits(epsilon: float) -> None:
    """With probability m delta / k it tells k bits chosen at random, so each with probability delta."""
    m, delta, share = 60, 1e-3, share_of(epsilon)
    for k in (1, 2, 5, 20, 60):
        often = Fraction(m * delta) / k
        for right in range(m + 1):
            sometimes = often * tail(right - k, m - k, share) + (1 - often) * tail(right, m, share)
            assert float(sometimes) <= p_value(m, m, right, epsilon, delta) * (1 + 1e-9)
    without = float(tail(55, m, share_of(0.0)))
    assert float(often * tail(0, 0, share)) > 100 * without  # which the sum without delta would not pay for
