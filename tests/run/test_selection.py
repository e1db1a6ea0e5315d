"""Which rows: the first n, or n of each class, of a permutation fixed per data set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaicli.data.dataset import UNKNOWN
from xaicli.data.open import open_data
from xaicli.errors import InputError
from xaicli.run.selection import choose, select
from xaicli.run.settings import Settings

LABELS = np.arange(60, dtype=np.int64) % 5


def test_everything_in_index_order_by_default() -> None:
    assert choose("digits", LABELS, Settings()).tolist() == list(range(60))


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_smaller_limit_is_a_subset_of_a_larger_one(few: int, many: int) -> None:
    few, many = sorted((few, many))
    small, large = (choose("digits", LABELS, Settings(limit=n)) for n in (few, many))
    assert (len(small), len(large)) == (few, many)
    assert set(small) <= set(large)
    assert (np.diff(large) > 0).all()


def test_the_seed_does_not_change_it_and_the_data_set_does() -> None:
    first = choose("digits", LABELS, Settings(limit=10))
    assert choose("digits", LABELS, Settings(limit=10, seed=7)).tolist() == first.tolist()
    assert choose("shapes", LABELS, Settings(limit=10)).tolist() != first.tolist()


@given(st.integers(1, 12))
def test_so_many_of_each_class(each: int) -> None:
    chosen = choose("digits", LABELS, Settings(per_class=each))
    assert np.bincount(LABELS[chosen]).tolist() == [each] * 5
    both = choose("digits", LABELS, Settings(per_class=each, limit=3))
    assert len(both) == 3
    assert set(both) <= set(chosen)


def test_a_class_with_fewer_rows_gives_what_it_has() -> None:
    labels = np.array([0, 0, 0, 1, UNKNOWN], dtype=np.int64)
    chosen = choose("x", labels, Settings(per_class=2))
    assert sorted(labels[chosen].tolist()) == [0, 0, 1, UNKNOWN]


def test_a_limit_beyond_the_data_takes_all_of_it() -> None:
    assert len(choose("x", LABELS, Settings(limit=1000))) == 60


def test_an_empty_selection_is_65() -> None:
    with pytest.raises(InputError, match=r"^the selection of 'x' is empty; raise --limit or name other data.$"):
        choose("x", np.array([], dtype=np.int64), Settings())


def test_the_rows_of_digits_are_fixed_for_ever() -> None:
    """Published numbers name a selection by `-n` alone, so it must not drift."""
    digits = open_data("digits")
    assert select(digits, Settings(limit=5)).tolist() == [119, 161, 209, 239, 274]
