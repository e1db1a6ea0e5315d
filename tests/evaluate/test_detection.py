"""Open-set figures against all pairs and all thresholds, ties included, scikit-learn and pytorch-ood."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_ood.metrics.functional import oscr_score
from sklearn.metrics import average_precision_score, balanced_accuracy_score

from xaicli.evaluate.detection import (
    balanced_accuracy_at,
    known_refused_where_unknown_are_refused,
    open_set_classification_rate,
    precision_of_known,
    precision_of_unknown,
    unknown_kept_where_known_are_kept,
)

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=15).map(np.array)
ROWS = st.lists(st.tuples(st.integers(-3, 3).map(float), st.booleans()), min_size=1, max_size=15)
NORMAL = NormalDist()


def thresholds(known: np.ndarray, unknown: np.ndarray) -> list[float]:
    return sorted({*known, *unknown}, reverse=True)


@settings(deadline=None)
@given(SCORES, SCORES)
def test_average_precision_both_ways(known: np.ndarray, unknown: np.ndarray) -> None:
    truth = np.repeat([1, 0], [len(known), len(unknown)])
    scores = np.concatenate([known, unknown])
    above = precision_of_known(known, unknown).value
    below = precision_of_unknown(known, unknown).value
    assert above == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert below == pytest.approx(average_precision_score(1 - truth, -scores), abs=1e-12)
    total, recall = 0.0, 0.0
    for one in thresholds(known, unknown):
        now = np.mean(known >= one)
        total += (now - recall) * (known >= one).sum() / (scores >= one).sum()
        recall = now
    assert above == pytest.approx(total, abs=1e-12)


@settings(deadline=None)
@given(SCORES, SCORES, st.sampled_from([0.3, 0.5, 0.95, 1.0]))
def test_false_positives_in_both_senses(known: np.ndarray, unknown: np.ndarray, share: float) -> None:
    every = [*known, *unknown]
    kept = [np.mean(unknown >= one) for one in every if np.mean(known >= one) >= share - 1e-12]
    assert unknown_kept_where_known_are_kept(known, unknown, share=share).value == pytest.approx(min(kept))
    refused = [np.mean(known <= one) for one in every if np.mean(unknown <= one) >= share - 1e-12]
    assert known_refused_where_unknown_are_refused(known, unknown, share=share).value == pytest.approx(min(refused))


def test_the_two_senses_are_two_figures() -> None:
    """Half of the unknown rows are told at once, half never; all known rows are alike."""
    known, unknown = np.full(100, 1.0), np.repeat([0.0, 2.0], 50)
    assert unknown_kept_where_known_are_kept(known, unknown).value == 0.5
    assert known_refused_where_unknown_are_refused(known, unknown).value == 1


@settings(deadline=None)
@given(ROWS, SCORES)
def test_the_classification_rate_counts_pairs_and_ties_half(
    rows: list[tuple[float, bool]], unknown: np.ndarray
) -> None:
    known, right = np.array([score for score, _ in rows]), np.array([hit for _, hit in rows])
    pairs = [
        hit * ((score > other) + (score == other) / 2)
        for score, hit in zip(known, right, strict=True)
        for other in unknown
    ]
    found = open_set_classification_rate(known, right, unknown).value
    assert found == pytest.approx(np.mean(pairs), abs=1e-12)
    labels = torch.tensor([0] * len(known) + [-1] * len(unknown))
    predicted = torch.tensor([*np.where(right, 0, 1), *np.zeros(len(unknown))])
    theirs = oscr_score(-torch.tensor(np.concatenate([known, unknown])), predicted, labels)
    assert found == pytest.approx(theirs, abs=1e-9)
    curve = [(0.0, 0.0)]
    for one in thresholds(known, unknown):
        curve.append((np.mean(unknown >= one), np.mean(right & (known >= one))))
    assert found == pytest.approx(np.trapezoid(*np.array(curve).T[::-1]), abs=1e-12)


def test_a_perfect_detector_has_the_closed_accuracy_and_a_blind_one_half_of_it() -> None:
    right = np.arange(100) < 80
    ones = np.ones(100)
    assert open_set_classification_rate(ones, right, 0 * ones).value == 0.8
    assert open_set_classification_rate(ones, right, ones).value == 0.4
    assert open_set_classification_rate(0 * ones, right, ones).value == 0


@settings(deadline=None)
@given(SCORES, SCORES, st.integers(-4, 4).map(float))
def test_balanced_accuracy_keeps_what_stands_on_the_threshold(
    known: np.ndarray, unknown: np.ndarray, threshold: float
) -> None:
    truth = np.repeat([1, 0], [len(known), len(unknown)])
    expected = balanced_accuracy_score(truth, np.concatenate([known, unknown]) >= threshold)
    assert balanced_accuracy_at(known, unknown, threshold).value == pytest.approx(expected, abs=1e-12)


def test_normal_scores_have_their_closed_forms_inside_the_intervals() -> None:
    rng = np.random.default_rng(3)
    known, unknown = rng.standard_normal(3000) + 2, rng.standard_normal(2000)
    right = rng.random(3000) < 0.9
    exceed = NORMAL.inv_cdf(0.95)
    expected = [
        (unknown_kept_where_known_are_kept(known, unknown), 1 - NORMAL.cdf(2 - exceed)),
        (known_refused_where_unknown_are_refused(known, unknown), NORMAL.cdf(exceed - 2)),
        (open_set_classification_rate(known, right, unknown), 0.9 * NORMAL.cdf(2 / 2**0.5)),
        (balanced_accuracy_at(known, unknown, 1.0), NORMAL.cdf(1)),
    ]
    for found, value in expected:
        assert found.low < value < found.high and 0.001 < found.high - found.low < 0.1
        assert found.value == pytest.approx(value, abs=0.03) and found.n == 5000
    for figure in (precision_of_known, precision_of_unknown):
        found = figure(known, unknown)
        assert found.low < found.value < found.high


@pytest.mark.parametrize(
    "figure",
    [
        precision_of_known,
        precision_of_unknown,
        unknown_kept_where_known_are_kept,
        known_refused_where_unknown_are_refused,
        lambda known, unknown: open_set_classification_rate(known, known > 0, unknown),
        lambda known, unknown: balanced_accuracy_at(known, unknown, 0.0),
    ],
)
def test_nothing_is_said_without_rows_of_both_kinds(figure) -> None:
    some, none = np.arange(30.0), np.zeros(0)
    assert figure(some, none).value is None and figure(none, some).value is None
    few = figure(some, some[:19])
    assert few.value is not None and few.low is None
    assert figure(some, some[:20]).low is not None
