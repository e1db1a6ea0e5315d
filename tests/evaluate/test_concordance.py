"""Whether rankings agree, against brute force and the tests that rest on the same sums."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, spearmanr

from xaicli.evaluate.concordance import concordance, kendall_w, tau_b


def ratings(raters: int = 30, items: int = 5, *, ties: bool) -> np.ndarray:
    table = np.random.default_rng(2).normal(size=(raters, items)) + 0.4 * np.arange(items)
    return np.round(table) if ties else table


def brute_force_w(table: np.ndarray) -> float:
    """Variance of the items' mean ranks over what it would be if all raters agreed, tie by tie."""
    raters, items = len(table), len(table[0])
    ranks = [[sum(o < x for o in row) + (sum(o == x for o in row) + 1) / 2 for x in row] for row in table]
    sums = [sum(ranks[r][i] for r in range(raters)) for i in range(items)]
    spread = sum((one - raters * (items + 1) / 2) ** 2 for one in sums)
    ties = sum(sum(list(row).count(x) ** 3 - list(row).count(x) for x in set(row)) for row in table)
    return 12 * spread / (raters**2 * (items**3 - items) - raters * ties)


@pytest.mark.parametrize("ties", [False, True])
def test_w_against_brute_force(ties: bool) -> None:
    table = ratings(ties=ties)
    assert (np.unique(table[0]).size < 5) == ties
    assert kendall_w(table) == pytest.approx(brute_force_w(table), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_w_and_its_p_are_those_of_friedmans_test(ties: bool) -> None:
    table = ratings(ties=ties)
    expected = friedmanchisquare(*table.T)
    found = concordance(table)
    assert found is not None and found.statistic == "kendall-w" and found.raters == 30
    assert found.value == pytest.approx(expected.statistic / (30 * 4), abs=1e-12)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_w_is_the_mean_rank_correlation_of_all_pairs_of_raters() -> None:
    """Kendall's identity: (m W - 1) / (m - 1), without ties."""
    table = ratings(raters=6, ties=False)
    mean = np.mean([spearmanr(a, b).statistic for a, b in combinations(table, 2)])
    assert kendall_w(table) == pytest.approx((5 * mean + 1) / 6, abs=1e-12)


def test_w_of_raters_that_agree_and_that_do_not() -> None:
    assert kendall_w(np.tile([0.1, 0.3, 0.2], (7, 1))) == pytest.approx(1)
    assert kendall_w(np.tile([0.1, 0.1, 0.2], (7, 1))) == pytest.approx(1)  # 0.75 without the correction for ties
    assert kendall_w(np.array([[1, 2, 3], [2, 3, 1], [3, 1, 2]])) == pytest.approx(0)
    assert kendall_w(np.ones((4, 3))) is None


def brute_force_tau(first: np.ndarray, second: np.ndarray) -> float:
    pairs = list(combinations(range(len(first)), 2))
    a = np.array([np.sign(first[i] - first[j]) for i, j in pairs])
    b = np.array([np.sign(second[i] - second[j]) for i, j in pairs])
    return float(a @ b / np.sqrt((a**2).sum() * (b**2).sum()))


def test_two_raters_have_tau_b() -> None:
    table = np.array([[1.0, 2, 2, 4, 5, 3], [2.0, 1, 3, 3, 5, 4]])
    found = concordance(table)
    assert found is not None
    assert (found.statistic, found.p, found.raters) == ("tau-b", None, 2)
    assert found.value == pytest.approx(brute_force_tau(*table), abs=1e-12)
    assert tau_b(np.ones(3), np.arange(3.0)) is None


def test_raters_that_miss_an_item_are_left_out_and_few_have_no_p() -> None:
    table = ratings(raters=22, ties=False)
    table[3, 1] = np.nan
    found = concordance(table)
    assert found is not None and found.raters == 21 and found.p is not None
    assert found.value == pytest.approx(brute_force_w(np.delete(table, 3, axis=0)))
    fewer = concordance(table[:20])
    assert fewer is not None and fewer.raters == 19 and fewer.p is None
    assert concordance(table[:1]) is None and concordance(table[:, :1]) is None
