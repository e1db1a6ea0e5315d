"""Risk and coverage against every order of equally sure rows, closed forms and pytorch-ood."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_ood.metrics import aurra

from xaicli.evaluate.selective import area_under_risk, covered, figures, risk_curve, selective_risk

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


NAN = np.nan
OWN = {
    "": np.array([9.0, 8, 7, 6, 5, 4, 3, 7.5, 2.5, 8.5]),
    "right": np.array([1.0, 1, 0, 1, 1, 0, 0, NAN, NAN, NAN]),
    "origin": np.array([0.0, 0, 0, 0, 0, 0, 0, 1, 1, 2]),
    "kept": np.array([1.0, 1, 1, 1, 0, 0, 0, 1, 0, 1]),
}
FACTS = {"unknown": [{"name": "left-out"}, {"name": "noise"}]}


def said(own: dict[str, np.ndarray], coverage: float | None) -> dict[str, float | None]:
    (found,) = figures([own], [FACTS], {"coverage": coverage}, 0)
    return {f"{one.part}@{one.against}".strip("@"): one.estimate.value for one in found}


def test_figures_at_the_stored_threshold() -> None:
    risks = [0, 0, 1 / 3, 1 / 4, 1 / 5, 2 / 6, 3 / 7]
    assert said(OWN, None) == {
        "": pytest.approx(np.mean(risks)),
        "forced-accuracy": 4 / 7,
        "coverage": 4 / 7,
        "accuracy": 3 / 4,
        "unknown-refused@left-out": 1 / 2,
        "unknown-refused@noise": 0,
    }
    never = {**OWN, "kept": np.full(10, NAN)}  # nothing says when to refuse
    assert [*said(never, None)] == ["", "forced-accuracy"]


@pytest.mark.parametrize(
    ("coverage", "answered", "refused"), [(0.6, 5, 1 / 2), (2 / 7, 2, 1), (1.0, 7, 1 / 2), (1e-9, 1, 1)]
)
def test_figures_at_an_asked_coverage(coverage: float, answered: int, refused: float) -> None:
    found = said(OWN, coverage)
    assert found["coverage"] == pytest.approx(answered / 7)
    assert found["accuracy"] == pytest.approx(OWN["right"][:answered].mean())
    assert found["unknown-refused@left-out"] == refused


def test_rows_that_are_as_sure_as_the_last_are_answered_too() -> None:
    scores = np.array([3.0, 2, 2, 1])
    assert covered(scores, scores, 0.5).tolist() == [1, 1, 1, 0] and covered(scores, scores, 0.0).tolist() == [0] * 4


def test_the_curve_of_a_record_ends_at_the_share_of_errors() -> None:
    confidence, right = np.arange(1000.0), np.arange(1000) % 4 > 0
    curve = risk_curve(confidence, right)
    assert len(curve) == 100 and curve[-1] == [1.0, 0.25] and curve[0] == [0.001, 0.0]
    assert risk_curve(confidence[:3], right[:3]) == [[1 / 3, 0.0], [2 / 3, 0.0], [1.0, pytest.approx(1 / 3)]]
    assert risk_curve(confidence[:0], right[:0]) == []
