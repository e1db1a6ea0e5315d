"""Risk and coverage against every order of equally sure rows, closed forms and pytorch-ood."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_ood.metrics import aurra

from xaicli.evaluate.selective import area_under_risk, selective_risk

ROWS = st.lists(st.tuples(st.integers(0, 2).map(float), st.booleans()), min_size=1, max_size=6)


@settings(deadline=None)
@given(ROWS)
def test_equally_sure_rows_come_in_the_mean_of_all_orders(rows: list[tuple[float, bool]]) -> None:
    curves = []
    for order in permutations(range(len(rows))):
        sure = [rows[place][0] for place in order]
        if sure == sorted(sure, reverse=True):
            wrong = [not rows[place][1] for place in order]
            curves.append([sum(wrong[:k]) / k for k in range(1, len(rows) + 1)])
    confidence, right = np.array([one for one, _ in rows]), np.array([hit for _, hit in rows])
    np.testing.assert_allclose(selective_risk(confidence, right), np.mean(curves, axis=0), atol=1e-12)
    assert area_under_risk(confidence, right).value == pytest.approx(np.mean(curves), abs=1e-12)


def test_without_ties_it_is_one_less_the_librarys_area() -> None:
    rng = np.random.default_rng(1)
    confidence, right = rng.permutation(500) / 7, rng.random(500) < 0.7
    theirs = aurra(torch.tensor(confidence), torch.tensor(right))
    assert area_under_risk(confidence, right).value == pytest.approx(1 - theirs, abs=1e-12)


def test_perfect_and_blind_confidence() -> None:
    right = np.arange(10) < 8
    sure = np.arange(10, 0, -1.0)
    np.testing.assert_allclose(selective_risk(sure, right), [0] * 8 + [1 / 9, 2 / 10])
    np.testing.assert_allclose(
        selective_risk(-sure, right), [1, 1, 2 / 3, 2 / 4, 2 / 5, 2 / 6, 2 / 7, 2 / 8, 2 / 9, 0.2]
    )
    np.testing.assert_allclose(selective_risk(np.ones(10), right), np.full(10, 0.2))
    assert area_under_risk(sure, right).value == pytest.approx((1 / 9 + 2 / 10) / 10)


def test_the_interval_is_that_of_resampled_rows() -> None:
    """All equally sure: the area is the share of errors, whose standard error is known."""
    right = np.random.default_rng(2).random(1000) < 0.8
    found = area_under_risk(np.ones(1000), right)
    p = 1 - right.mean()
    assert (found.value, found.n) == (pytest.approx(p), 1000)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx((p * (1 - p) / 1000) ** 0.5, rel=0.1)
    assert area_under_risk(np.ones(1000), right).low == found.low
    assert area_under_risk(np.ones(1000), right, seed=1).low != found.low
    assert area_under_risk(np.ones(19), right[:19]).low is None
    assert area_under_risk(np.ones(0), right[:0]).value is None
