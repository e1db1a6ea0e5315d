"""True positives, area and balanced accuracy against brute force, ties included, and against scikit-learn."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from xaicli.evaluate.separation import area, balanced_accuracy, true_positives
from xaicli.run.interval import clopper_pearson

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=15).map(np.array)
NORMAL = NormalDist()


@given(SCORES, SCORES)
def test_the_area_counts_pairs_and_ties_half(members: np.ndarray, others: np.ndarray) -> None:
    pairs = [(one > other) + (one == other) / 2 for one in members for other in others]
    assert area(members, others).value == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    truth = np.repeat([1, 0], [len(members), len(others)])
    scores = np.concatenate([members, others])
    assert area(members, others).value == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert balanced_accuracy(members, others).value == pytest.approx(
        balanced_accuracy_score(truth, scores > 0), abs=1e-12
    )


@given(SCORES, SCORES, st.floats(0, 1))
@settings(max_examples=300)
def test_true_positives_are_the_most_of_any_threshold(members: np.ndarray, others: np.ndarray, share: float) -> None:
    found = true_positives(members, others, share).value
    if share * len(others) < 1 - 1e-9:
        assert found is None
        return
    thresholds = [*np.concatenate([members, others]), -np.inf]
    allowed = [one for one in thresholds if np.mean(others > one) <= share + 1e-9]
    assert found == max(np.mean(members > one) for one in allowed)


def test_so_few_false_positives_need_so_many_others() -> None:
    members, others = np.arange(50.0), np.arange(1000.0) - 960
    assert true_positives(members, others[:999], 0.001).value is None
    found = true_positives(members, others, 0.001)  # one of the thousand is above 38
    assert (found.value, found.n) == (11 / 50, 50) and (found.low, found.high) == clopper_pearson(11, 50)
    assert true_positives(members, others[:99], 0.01).value is None
    assert true_positives(members, others, 0.01).value == 20 / 50
    assert true_positives(np.ones(0), others, 0.01).value is None and area(np.ones(0), others).value is None


def test_two_normal_distributions_have_their_closed_form_and_the_interval_holds_it() -> None:
    rng = np.random.default_rng(1)
    members, others = rng.standard_normal(4000) + 2, rng.standard_normal(6000)
    expected = {"area": NORMAL.cdf(2 / 2**0.5), "at": 1 - NORMAL.cdf(NORMAL.inv_cdf(0.999) - 2)}
    found = area(members, others)
    assert found.low < expected["area"] < found.high
    beaten = [np.searchsorted(np.sort(others), members) / 6000, np.searchsorted(np.sort(members), others) / 4000]
    error = np.sqrt(np.var(beaten[0]) / 4000 + np.var(beaten[1]) / 6000)  # DeLong et al., 1988
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(error, rel=0.15)
    assert true_positives(members, others, 0.001).value == pytest.approx(expected["at"], abs=0.05)
    half = balanced_accuracy(members - 1, others - 1)
    assert half.low < NORMAL.cdf(1) < half.high
    assert area(members, others, seed=1).low != found.low and area(members, others).low == found.low
    few = area(members[:19], others)
    assert few.value is not None and few.low is None
