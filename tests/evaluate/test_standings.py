"""Explainers against the best of their run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaicli.evaluate.standings import Standing, holm, signed_rank, stand

# area under the ROC curve of C4.5 and of C4.5 with m tuned, on 14 data sets (Demsar, 2006, table 2)
PLAIN = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957]
TUNED = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978]


def test_signed_ranks_of_the_paper() -> None:
    found = signed_rank(np.round(np.array(TUNED) - np.array(PLAIN), 3))
    assert found.effect == pytest.approx((93 - 12) / 105)  # R+ = 93 and R- = 12, zeros split
    assert found.p == pytest.approx(0.0108, abs=3e-4)  # z = -2.54 there, without the correction for ties


def enumerated(differences: np.ndarray) -> float:
    """P-value over all signs, with ranks by counting."""
    sizes = np.abs(differences)
    ranks = np.array([sum(sizes < size) + (sum(sizes == size) + 1) / 2 for size in sizes])
    signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    sums = np.abs(signs @ ranks)
    return float((sums >= abs(np.sign(differences) @ ranks) - 1e-9).mean())


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.8])
def test_without_ties_the_p_value_is_that_of_all_signs(shift: float) -> None:
    differences = np.random.default_rng(3).normal(shift, 1, size=15)
    assert signed_rank(differences).p == pytest.approx(enumerated(differences), abs=1e-12)


def test_many_zeros_and_ties_by_the_normal_approximation_written_out() -> None:
    differences = np.r_[np.zeros(50), np.ones(30), -np.ones(10)]  # a proportion's: 40 rows of 90 differ
    rank_of_zero, rank_of_one = 51 / 2, 50 + 41 / 2
    variance = (50 * rank_of_zero**2 + 40 * rank_of_one**2) / 4
    z = (30 - 10) * rank_of_one / 2 / np.sqrt(variance)
    from math import erfc

    assert signed_rank(differences).p == pytest.approx(erfc(z / np.sqrt(2)), rel=1e-9)
    assert signed_rank(differences).effect == pytest.approx(20 * rank_of_one / (90 * 91 / 2))


def test_no_difference_at_all_and_the_other_way_round() -> None:
    assert signed_rank(np.zeros(30)).p == 1
    differences = np.random.default_rng(5).normal(0.2, 1, size=60)
    one, other = signed_rank(differences), signed_rank(-differences)
    assert (one.p, one.effect) == (pytest.approx(other.p, abs=1e-12), pytest.approx(-other.effect, abs=1e-12))


def test_the_test_rejects_what_is_true_as_often_as_it_says() -> None:
    """Under the null 5 % of p-values are below 0.05; a one-sided p, or one of unpaired rows, would show."""
    rng = np.random.default_rng(7)
    rows = rng.normal(0, 5, size=(1000, 40))  # what pairs share does not matter
    p = [signed_rank((row + rng.normal(size=40)) - (row + rng.normal(size=40))).p for row in rows]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1, never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float]) -> None:
    """Holm's own definition: go up the sorted p-values until one exceeds alpha / (those left)."""
    alpha, rejected = 0.05, set()
    for step, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[number] * (len(p_values) - step) >= alpha:
            break
        rejected.add(number)
    assert {number for number, p in enumerate(holm(p_values)) if p < alpha} == rejected


def columns() -> list[np.ndarray]:
    """Four explainers on 40 rows: the best, one a little worse on every row, one like the best, and a control."""
    rng = np.random.default_rng(0)
    best = rng.normal(1, 1, size=40).astype(np.float32)
    noise = rng.normal(0, 1, size=40)
    return [best - 0.05, best, best + noise - noise.mean() - 0.1, rng.normal(0, 1, size=40)]


@pytest.mark.parametrize("sign", [1, -1])
def test_standings(sign: int) -> None:
    scores = [sign * column for column in columns()]
    means = [float(column.mean()) for column in scores]
    found = stand(scores, means, [False, False, False, True], sign)
    assert [one.best for one in found] == [False, True, False, False]
    assert [one.rank for one in found] == [2, 1, 3, None]
    raw = [signed_rank(sign * (scores[n].astype(float) - scores[1])) for n in (0, 2, 3)]
    assert [found[n].p for n in (0, 2, 3)] == pytest.approx(holm([test.p for test in raw]))
    assert found[1] == Standing(1, True, None, None, None)
    assert found[0].effect == -1 and found[0].worse  # hardly worse, but on every row
    assert found[2].worse is False and found[3].worse
    assert found[2].effect == pytest.approx(raw[1].effect)


def test_pairs_leave_out_rows_that_either_has_not() -> None:
    first, second = np.random.default_rng(1).normal(size=(2, 30))
    first[:5], second[25:] = np.nan, np.nan
    found = stand([first + 1, second], [1.0, 0.0], [False, False], 1)
    assert found[1].p == pytest.approx(signed_rank((second - first - 1)[5:25]).p)
    first[5] = np.nan  # 19 rows are left
    assert stand([first + 1, second], [1.0, 0.0], [False, False], 1)[1] == Standing(2, False, None, None, None)


def test_nothing_to_compare() -> None:
    column = np.arange(30.0)
    assert stand([column], [14.5], [False], 1) == [Standing()]
    assert stand([column, column], [14.5, 14.5], [True, True], 1) == [Standing(), Standing()]
    undefined = np.full(30, np.nan)
    assert stand([undefined, column], [None, 14.5], [False, False], 1) == [
        Standing(None, False),
        Standing(1, True),
    ]


def test_equal_means_share_the_first_place() -> None:
    column = np.arange(30.0)
    found = stand([column, column[::-1], column - 1], [14.5, 14.5, 13.5], [False] * 3, 1)
    assert [(one.rank, one.best) for one in found] == [(1, True), (1, True), (3, False)]
