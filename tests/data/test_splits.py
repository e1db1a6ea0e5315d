"""The fixed stratified splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaicli.data.splits import full_split, hold_out, known_split, rows_of
from xaicli.errors import InputError, UsageError


def test_rows_held_out_are_these_on_every_machine() -> None:
    labels = np.repeat([0, 1, 2], [10, 6, 4])
    kept, held = hold_out(labels, tenths=2)
    assert held.tolist() == [4, 9, 12, 18]
    assert kept.tolist() == [row for row in range(20) if row not in (4, 9, 12, 18)]


def test_largest_remainders_share_the_rows_and_ties_go_to_the_earlier_class() -> None:
    # A tenth of 25 is 3 (rounded up): exact shares are 0.6, 0.9, 0.9, 0.1, so classes 1 and 2 come first, then 0.
    labels = np.repeat([0, 1, 2, 3], [6, 9, 9, 1])
    _, held = hold_out(labels, tenths=1)
    assert np.bincount(labels[held], minlength=4).tolist() == [1, 1, 1, 0]
    labels = np.repeat([0, 1, 2, 3], 5)
    _, held = hold_out(labels, tenths=1)
    assert np.bincount(labels[held], minlength=4).tolist() == [1, 1, 0, 0]


def test_no_class_gives_its_last_row_away() -> None:
    labels = np.arange(10)
    kept, held = hold_out(labels, tenths=2)
    assert kept.tolist() == list(range(10))
    assert held.tolist() == []


@given(st.lists(st.integers(0, 5), min_size=1, max_size=120), st.integers(1, 9))
def test_a_split_is_a_partition_with_every_class_in_proportion(values: list[int], tenths: int) -> None:
    labels = np.array(values)
    kept, held = hold_out(labels, tenths=tenths)
    assert sorted([*kept, *held]) == list(range(len(values)))
    for name in set(values):
        exact = values.count(name) * tenths / 10
        share = int((labels[held] == name).sum())
        assert share < values.count(name)
        assert abs(share - exact) < 1 or share == values.count(name) - 1


def test_another_seed_is_another_split() -> None:
    labels = np.zeros(100, dtype=np.int64)
    assert hold_out(labels, tenths=1)[1].tolist() != hold_out(labels, tenths=1, seed=1)[1].tolist()


def test_fit_and_val_are_train() -> None:
    labels = np.arange(50) % 5
    fit, val = rows_of("fit", labels), rows_of("val", labels)
    assert (len(fit), len(val)) == (45, 5)
    assert np.bincount(labels[val]).tolist() == [1] * 5
    assert sorted([*fit, *val]) == rows_of("train", labels).tolist() == list(range(50))


def test_too_few_rows_for_a_validation_split() -> None:
    with pytest.raises(InputError, match="the 3 training images are too few to hold a tenth of them out"):
        rows_of("val", np.arange(3))


def test_names() -> None:
    assert [full_split(known_split(name)) for name in ("train", "fit", "val", "test")] == ["train"] * 3 + ["test"]
    with pytest.raises(
        UsageError, match=r"no split 'trian'; take one of train, fit, val, test\. Did you mean 'train'\?"
    ):
        known_split("trian")
