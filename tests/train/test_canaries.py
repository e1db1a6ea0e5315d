"""Canaries: which they are, what a training learns of them, and what its checkpoint keeps."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest, chi2, chisquare

from xaicli.data.dataset import Dataset
from xaicli.data.digits import open_digits
from xaicli.errors import InputError, UsageError
from xaicli.specs import parse_spec
from xaicli.train.canaries import canaries_in, draw_canaries, with_canaries
from xaicli.train.loop import Pixels


@pytest.fixture(scope="module")
def fit() -> Dataset:
    return open_digits("fit", None)


def test_rows_and_labels_are_the_datas_and_coins_the_seeds(fit: Dataset) -> None:
    first, again, other = (draw_canaries(fit, 400, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.rows, other.rows) and np.array_equal(first.labels, other.labels)
    assert np.array_equal(first.included, again.included)
    assert 150 < (first.included != other.included).sum() < 250  # independent coins differ for every second one
    assert (np.diff(first.rows) > 0).all() and set(first.rows) <= set(fit.index)
    few = draw_canaries(fit, 100, 1)
    places = np.searchsorted(first.rows, few.rows)
    assert np.array_equal(first.rows[places], few.rows) and np.array_equal(first.labels[places], few.labels)


def test_labels_are_wrong_and_every_wrong_one_is_as_likely(fit: Dataset) -> None:
    canaries = draw_canaries(fit, len(fit) - 1, 0)
    true = fit.labels[np.searchsorted(fit.index, canaries.rows)]
    shifts = np.bincount((canaries.labels - true) % 10, minlength=10)
    assert shifts[0] == 0 and chisquare(shifts[1:]).pvalue > 0.01


def test_coins_are_fair_and_independent_of_each_other_and_of_the_labels(fit: Dataset) -> None:
    drawn = [draw_canaries(fit, 500, seed) for seed in range(40)]
    coins = np.stack([canaries.included for canaries in drawn])
    assert binomtest(int(coins.sum()), coins.size).pvalue > 0.01
    assert 0.01 < chi2.sf(np.square(coins.sum(0) - 20).sum() / 10, 500) < 0.99  # a row's coins are binomial
    agreement = [int((one == other).sum()) for one, other in combinations(coins, 2)]
    assert abs(np.mean(agreement) - 250) < 3 * np.sqrt(125 / len(agreement))
    assert np.var(agreement) == pytest.approx(125, rel=0.25)
    assert abs(np.corrcoef(coins[0], drawn[0].labels)[0, 1]) < 3 / np.sqrt(500)


def test_the_training_learns_canaries_as_their_wrong_class_and_nothing_of_those_left_out(fit: Dataset) -> None:
    canaries = draw_canaries(fit, 300, 5)
    planted = with_canaries(fit, canaries)
    assert len(planted) == len(fit) - (~canaries.included).sum()
    assert not set(planted.index) & set(canaries.rows[~canaries.included])
    where = {int(row): place for place, row in enumerate(planted.index)}
    for row, label, included in zip(canaries.rows, canaries.labels, canaries.included, strict=True):
        assert (int(row) in where) == bool(included)
        if included:
            assert planted.labels[where[int(row)]] == label
    others = np.setdiff1d(planted.index, canaries.rows)
    assert len(others) == len(fit) - 300
    places = np.searchsorted(fit.index, planted.index)
    same = np.isin(planted.index, others)
    assert np.array_equal(planted.labels[same], fit.labels[places][same])
    assert np.array_equal(planted.read(np.arange(50)).pixels, fit.read(places[:50]).pixels)
    assert np.array_equal(Pixels(planted)[np.array([7, 3])], Pixels(fit)[places[[7, 3]]])
    assert [planted.key(place) for place in (0, 9)] == [fit.key(int(places[place])) for place in (0, 9)]
    assert planted.digest == fit.digest and planted.masks([0]) is None
    assert np.array_equal(fit.labels, open_digits("fit", None).labels)


def test_a_checkpoint_gives_back_what_it_was_given_and_nothing_damaged(fit: Dataset) -> None:
    canaries = draw_canaries(fit, 20, 3)
    found = canaries_in({"network.weight": np.zeros(3), **canaries.arrays}, "'m'")
    assert found is not None and len(found) == 20
    for name in ("rows", "labels", "included"):
        assert np.array_equal(getattr(found, name), getattr(canaries, name))
        assert getattr(found, name).dtype == getattr(canaries, name).dtype
    assert canaries_in({"network.weight": np.zeros(3), "xaicli.detector": np.zeros(2)}, "'m'") is None
    arrays = canaries.arrays
    for damage in (
        {"xaicli.canaries.rows": arrays["xaicli.canaries.rows"][::-1].copy()},
        {"xaicli.canaries.rows": arrays["xaicli.canaries.rows"].astype(np.float32)},
        {"xaicli.canaries.rows": arrays["xaicli.canaries.rows"] - 10_000},
        {"xaicli.canaries.labels": arrays["xaicli.canaries.labels"][:5]},
        {"xaicli.canaries.labels": arrays["xaicli.canaries.labels"] - 10},
        {"xaicli.canaries.included": arrays["xaicli.canaries.labels"]},
        {name: array[:0] for name, array in arrays.items()},
    ):
        with pytest.raises(InputError, match="damaged"):
            canaries_in({**arrays, **damage}, "'m'")
    with pytest.raises(InputError, match="damaged"):
        canaries_in({"xaicli.canaries.labels": arrays["xaicli.canaries.labels"]}, "'m'")


@pytest.mark.parametrize("m", [-1, 0, 1293, 5000])
def test_canaries_that_cannot_be_drawn(m: int, fit: Dataset) -> None:
    assert len(fit) == 1293
    with pytest.raises(UsageError, match=f"{m} canaries"):
        draw_canaries(fit, m, 0)


@pytest.mark.parametrize("recipe", ["standard", "private"])
def test_recipes_take_a_number_of_them(recipe: str) -> None:
    assert parse_spec("train", f"{recipe}:canaries=100").options["canaries"] == 100
    assert parse_spec("train", recipe).options["canaries"] == 0
