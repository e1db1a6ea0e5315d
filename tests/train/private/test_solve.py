"""Noise and steps for a budget: checked by another accountant, never above and never far below."""

from __future__ import annotations

import math

import pytest

from tests.train.private.oracles import by_pld, closed_form
from xaicli.errors import UsageError
from xaicli.train.private.accountant import Mechanism, epsilon_of
from xaicli.train.private.solve import noise_for, steps_within

PLANS = [
    (3, 1e-4, 64 / 1293, 300),
    (8, 1e-6, 4096 / 54_000, 400),
    (1, 1e-6, 256 / 54_000, 2110),
    (0.5, 1e-4, 0.1, 60),
    (0.05, 1e-4, 64 / 1293, 300),
    (0.05, 1e-5, 0.02, 1),
    (1, 1e-5, 0.5, 3),
    (20, 1e-5, 0.01, 500),
    (0.02, 1e-5, 1.0, 4),
]


@pytest.mark.parametrize(("epsilon", "delta", "rate", "steps"), PLANS)
def test_the_noise_spends_the_budget_and_no_more(epsilon: float, delta: float, rate: float, steps: int) -> None:
    mechanism = Mechanism(noise_for(epsilon, delta, rate, steps), rate, steps)
    assert 0.998 * epsilon <= epsilon_of([mechanism], delta) <= epsilon
    other = by_pld([mechanism], delta, grid=epsilon / 1e4)
    assert epsilon - max(0.01, 0.01 * epsilon) <= other <= epsilon


@pytest.mark.parametrize("epsilon", [0.05, 1, 30])
def test_without_sampling_the_noise_is_that_of_the_closed_form(epsilon: float) -> None:
    found = noise_for(epsilon, 1e-5, 1.0, 25)
    assert epsilon * 0.992 <= closed_form(found, 25, 1e-5) <= epsilon


def test_the_bound_of_renyi_needs_more_noise_and_keeps_to_its_own_budget() -> None:
    for epsilon, delta, rate, steps in PLANS[:5]:
        noise = noise_for(epsilon, delta, rate, steps, "rdp")
        assert 0.998 * epsilon <= epsilon_of([Mechanism(noise, rate, steps)], delta, "rdp") <= epsilon
        assert noise > noise_for(epsilon, delta, rate, steps)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_what_was_spent_before_is_taken_off(accountant: str) -> None:
    before = [Mechanism(1.5, 0.05, 200), Mechanism(8.0, 1.0, 2)]
    assert 2 < epsilon_of(before, 1e-5, accountant) < 2.9
    noise = noise_for(3, 1e-5, 0.1, 100, accountant, before)
    whole = [*before, Mechanism(noise, 0.1, 100)]
    assert 2.99 <= epsilon_of(whole, 1e-5, accountant) <= 3
    assert noise > 1.5 * noise_for(3, 1e-5, 0.1, 100, accountant)
    if accountant == "prv":
        assert 2.97 <= by_pld(whole, 1e-5) <= 3


@pytest.mark.parametrize(
    ("epsilon", "noise", "rate", "most", "spent"),
    [(3, 1.0, 0.05, 10_000, ()), (0.05, 60.0, 0.05, 900, ()), (2, 5.0, 1.0, 50, (Mechanism(1.0, 0.01, 500),))],
)
def test_the_steps_are_the_most_that_the_budget_allows(
    epsilon: float, noise: float, rate: float, most: int, spent: tuple[Mechanism, ...]
) -> None:
    steps = steps_within(epsilon, 1e-5, noise, rate, most, "prv", spent)
    assert 1 < steps < most
    costs = [epsilon_of([*spent, Mechanism(noise, rate, count)], 1e-5) for count in (steps, steps + 1)]
    assert costs[0] <= epsilon < costs[1]
    assert steps_within(epsilon, 1e-5, noise, rate, steps - 1, "prv", spent) == steps - 1


def test_without_noise_no_step_is_allowed_and_none_for_a_step_too_dear() -> None:
    assert steps_within(3, 1e-5, 0.0, 0.05, 100) == steps_within(0.1, 1e-5, 1.0, 0.5, 100) == 0


def test_impossible_budgets_are_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"epsilon 1e-05 is too small for 1000 steps at a rate of 0\.5"):
        noise_for(1e-5, 1e-5, 0.5, 1000)
    spent = [Mechanism(1.0, 0.05, 300)]
    used = epsilon_of(spent, 1e-4)
    with pytest.raises(UsageError, match=f"have spent epsilon {used:.4g} of the 3 asked for"):
        noise_for(3, 1e-4, 0.1, 9, "prv", spent)
    with pytest.raises(UsageError, match=f"have spent epsilon {used:.4g} of the 3 asked for"):
        steps_within(3, 1e-4, 1.0, 0.1, 9, "prv", spent)
    for epsilon in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="epsilon"):
            noise_for(epsilon, 1e-5, 0.1, 10)
    with pytest.raises(UsageError, match=r"rate of 1\.2"):
        noise_for(3, 1e-5, 1.2, 10)
    with pytest.raises(UsageError, match="delta"):
        noise_for(3, 1.0, 0.2, 10)
