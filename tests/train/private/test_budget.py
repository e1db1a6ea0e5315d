"""What a private training is planned to cost, for the budgets that are asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.train.private.oracles import by_pld
from xaicli.errors import UsageError
from xaicli.train.private.accountant import Mechanism
from xaicli.train.private.budget import Budget, plan_budget
from xaicli.train.private.ledger import Entry, Ledger

DATA = "d" * 64
DEFAULTS: dict[str, Any] = {
    "epsilon": None, "noise_multiplier": None, "delta": None, "max_grad_norm": 1.0, "accountant": "prv",
}  # fmt: skip


def planned(rows: int, batch: int, epochs: int, before: Ledger | None = None, **options: Any) -> Budget:
    given = {**DEFAULTS, **options}
    return plan_budget(given, rows=rows, batch_size=batch, epochs=epochs, data=DATA, before=before or Ledger())


@pytest.mark.parametrize(
    ("epsilon", "rows", "batch", "epochs"),
    [(0.05, 1293, 64, 15), (0.5, 1293, 256, 15), (1, 54_000, 512, 10), (3, 1293, 1293, 20), (8, 45_000, 4096, 30)],
)
def test_the_whole_training_costs_what_was_asked_and_no_more(
    epsilon: float, rows: int, batch: int, epochs: int
) -> None:
    budget = planned(rows, batch, epochs, epsilon=epsilon)
    assert budget.steps == epochs * round(rows / batch) and budget.sample_rate == batch / rows
    assert epsilon - max(0.01, 0.01 * epsilon) <= budget.epsilon <= epsilon
    (mechanism,) = budget.ledger(budget.steps).spent(DATA)
    assert by_pld([mechanism], budget.delta, min(epsilon / 1e4, 1e-4)) <= budget.epsilon


def test_what_is_not_asked_for_is_epsilon_three_or_what_the_noise_comes_to() -> None:
    assert 2.97 <= planned(1293, 128, 5).epsilon <= 3
    loud = planned(1293, 128, 5, noise_multiplier=0.9)
    other = by_pld([Mechanism(0.9, 128 / 1293, 50)], 1e-4)
    assert loud.target is None and other < loud.epsilon < other + 0.011


def test_a_second_training_gets_what_the_first_has_left() -> None:
    first = planned(1293, 128, 5, epsilon=2)
    second = planned(1293, 128, 5, first.ledger(first.steps), epsilon=3)
    assert 2.97 <= second.epsilon <= 3 and second.after(0) == first.epsilon
    assert by_pld(second.ledger(second.steps).spent(DATA), 1e-4) <= 3
    elsewhere = Ledger().with_steps(Entry("e" * 64, Mechanism(0.5, 0.5, 0), 1.0), 99)
    assert planned(1293, 128, 5, elsewhere, epsilon=2) == replace(first, before=elsewhere)


@pytest.mark.parametrize(
    ("rows", "batch", "options", "reason"),
    [
        (100, 101, {}, "batch of 101 cannot be drawn from 100"),
        (1293, 64, {"epsilon": 1e-5, "delta": 1e-7}, "too small"),
        (1293, 64, {"delta": 1e-3}, "between 0 and 1/1293"),
        (1293, 64, {"epsilon": 0.1, "noise_multiplier": 0.5}, "not one step"),
    ],
)
def test_impossible_plans_are_refused(rows: int, batch: int, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        planned(rows, batch, 3, **options)
