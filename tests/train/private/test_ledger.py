"""The ledger composes what was released about the same data, and survives being written down."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.private.oracles import closed_form
from xaicli.errors import InputError
from xaicli.files.canonical import canonical_json
from xaicli.train.private.accountant import Mechanism, epsilon_of
from xaicli.train.private.ledger import Entry, Ledger

MINE, OTHER = "a" * 64, "b" * 64
numbers = st.floats(1e-300, 1e300)
entries = st.builds(
    Entry,
    st.sampled_from([MINE, OTHER]),
    st.builds(Mechanism, st.just(0.0) | numbers, st.floats(1e-300, 1), st.integers(1, 10**12)),
    numbers,
)


@given(st.lists(entries, max_size=4).map(tuple).map(Ledger))
def test_what_is_written_down_is_read_back_bit_by_bit(ledger: Ledger) -> None:
    text = canonical_json(ledger.document())
    assert Ledger.of_document(json.loads(text)) == ledger


def test_trainings_on_the_same_data_compose_and_others_are_carried_along() -> None:
    first, second = Entry(MINE, Mechanism(20.0, 1.0, 0), 1.0), Entry(OTHER, Mechanism(1.0, 0.1, 0), 2.0)
    ledger = Ledger().with_steps(first, 100).with_steps(second, 7).with_steps(first, 300)
    assert ledger.spent(MINE) == [Mechanism(20.0, 1.0, 100), Mechanism(20.0, 1.0, 300)]
    assert ledger.spent(OTHER) == [Mechanism(1.0, 0.1, 7)] and ledger.spent("c" * 64) == []
    exact = closed_form(20.0, 400, 1e-5)
    assert exact < epsilon_of(ledger.spent(MINE), 1e-5) < exact + 0.0105


def test_the_steps_of_a_training_are_its_own_count_and_not_added_up() -> None:
    """However often a training was stopped and went on, and so often asked what it has cost."""
    before = Ledger().with_steps(Entry(MINE, Mechanism(1.0, 0.1, 0), 1.0), 50)
    mine = Entry(MINE, Mechanism(2.0, 0.2, 0), 1.0)
    assert [before.with_steps(mine, steps).spent(MINE)[-1].steps for steps in (3, 5, 5, 9)] == [3, 5, 5, 9]
    assert before.with_steps(mine, 0) == before == Ledger(before.entries)


GOOD = Ledger().with_steps(Entry(MINE, Mechanism(1.0, 0.1, 0), 1.0), 50).document()[0]


@pytest.mark.parametrize(
    "document",
    [
        [{**GOOD, "steps": 0}],
        [{**GOOD, "steps": "many"}],
        [{**GOOD, "sample_rate": 1.5}],
        [{**GOOD, "sample_rate": 0}],
        [{**GOOD, "noise_multiplier": -1}],
        [{**GOOD, "noise_multiplier": None}],
        [{name: value for name, value in GOOD.items() if name != "data"}],
        ["text"],
        5,
    ],
)
def test_a_malformed_ledger_is_refused(document: object) -> None:
    with pytest.raises(InputError, match="the ledger of 'm' is malformed"):
        Ledger.of_document(document, "the ledger of 'm'")  # type: ignore[arg-type]
