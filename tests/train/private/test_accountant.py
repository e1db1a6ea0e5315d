"""Epsilon against closed forms and against dp-accounting, and where it is infinite or refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.private.oracles import by_integrals, by_pld, closed_form
from xaicli.errors import UsageError
from xaicli.train.private import accountant
from xaicli.train.private.accountant import ORDERS, Mechanism, default_delta, delta_for, epsilon_of


def error_of(epsilon: float) -> float:
    """What METHODS allow the numbers to be off by."""
    return min(0.01, 0.005 * epsilon)


@pytest.mark.parametrize("delta", [1e-8, 1e-5, 1e-3])
@pytest.mark.parametrize(("noise", "steps"), [(0.7, 1), (4, 1), (4, 10), (50, 20), (180, 10), (12, 3000), (90, 400)])
def test_without_sampling_it_is_the_closed_form(noise: float, steps: int, delta: float) -> None:
    exact = closed_form(noise, steps, delta)
    assert exact > 0.02
    found = epsilon_of([Mechanism(noise, 1.0, steps)], delta)
    assert exact < found <= exact + 1.02 * error_of(exact) + 5e-4 * exact


GRID = [
    (1.1, 0.01, 1000, 1e-5),
    (0.6, 0.001, 1000, 1e-6),
    (1.0, 0.05, 300, 1e-4),
    (20.0, 0.05, 200, 1e-4),
    (38.0, 0.01, 3000, 1e-6),
    (2.36, 0.0759, 2000, 1e-6),
    (2.0, 0.5, 50, 1e-5),
    (8.0, 0.9, 5, 1e-5),
    (0.3, 0.01, 20, 1e-5),
    (0.8, 0.01, 1, 1e-5),
    (100.0, 0.25, 40, 1e-8),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "delta"), GRID)
def test_with_sampling_it_is_that_of_dp_accounting(noise: float, rate: float, steps: int, delta: float) -> None:
    mechanism = Mechanism(noise, rate, steps)
    found = epsilon_of([mechanism], delta)
    other = by_pld([mechanism], delta, grid=min(1e-3, found / 1e4))
    assert abs(found - other) <= max(0.01 * other, error_of(other))
    assert found >= other * (1 - 1e-3)
    assert epsilon_of([mechanism], delta, "rdp") > found - error_of(other)


def test_different_mechanisms_are_composed_in_any_order_and_equal_ones_are_added_up() -> None:
    parts = [Mechanism(1.0, 0.05, 100), Mechanism(3.0, 1.0, 4), Mechanism(0.8, 0.01, 300), Mechanism(1.0, 0.05, 60)]
    found = epsilon_of(parts, 1e-5)
    other = by_pld(parts, 1e-5)
    assert other < found < other + 0.011
    assert epsilon_of(parts[::-1], 1e-5) == found
    assert epsilon_of([*parts[1:3], Mechanism(1.0, 0.05, 160)], 1e-5) == found
    assert epsilon_of([*parts, Mechanism(1.0, 0.0, 9), Mechanism(1.0, 0.5, 0)], 1e-5) == found
    assert epsilon_of(parts, 1e-5, "rdp") > found


@pytest.mark.parametrize(("noise", "rate", "steps", "delta"), GRID)
def test_rdp_is_the_least_bound_over_integrals(noise: float, rate: float, steps: int, delta: float) -> None:
    mechanism = Mechanism(noise, rate, steps)
    assert epsilon_of([mechanism], delta, "rdp") == pytest.approx(by_integrals(mechanism, delta, ORDERS), rel=1e-5)


def test_rdp_without_sampling_is_its_formula() -> None:
    orders = np.array(ORDERS)
    bounds = 10 * orders / (2 * 3.0**2) + np.log1p(-1 / orders) - (math.log(1e-5) + np.log(orders)) / (orders - 1)
    assert epsilon_of([Mechanism(3.0, 1.0, 10)], 1e-5, "rdp") == pytest.approx(bounds.min(), rel=1e-12)


@settings(max_examples=8, deadline=None)
@given(
    noise=st.floats(0.5, 20),
    rate=st.floats(1e-3, 1),
    steps=st.integers(1, 2000),
    delta=st.floats(-8, -3).map(lambda power: 10**power),
    by=st.sampled_from(["prv", "rdp"]),
)
def test_it_is_monotone_in_everything(noise: float, rate: float, steps: int, delta: float, by: str) -> None:
    def found(noise: float, rate: float, steps: int, delta: float) -> float:
        return epsilon_of([Mechanism(noise, rate, steps)], delta, by, eps_error=0.02)

    here = found(noise, rate, steps, delta)
    for more in (
        found(noise / 1.3, rate, steps, delta),
        found(noise, min(1.3 * rate, 1.0), steps, delta),
        found(noise, rate, 2 * steps, delta),
        found(noise, rate, steps, delta / 3),
    ):
        assert more >= here - 1e-3 * (1 + here)


def test_without_noise_it_is_infinite_and_without_steps_nothing() -> None:
    for by in ("prv", "rdp"):
        assert epsilon_of([Mechanism(1.0, 0.1, 5), Mechanism(0.0, 0.1, 1)], 1e-5, by) == math.inf
        assert epsilon_of([Mechanism(0.0, 0.1, 0)], 1e-5, by) == epsilon_of([], 1e-5, by) == 0
    assert epsilon_of([Mechanism(5.0, 1e-4, 3)], 1e-2) == 0  # rows are drawn less often than delta allows to fail


def test_where_prv_would_overflow_the_bound_of_renyi_stands_in() -> None:
    loud = [Mechanism(0.05, 0.1, 100)]
    assert epsilon_of(loud, 1e-5) == epsilon_of(loud, 1e-5, "rdp") > 500
    exact = closed_form(0.1, 3, 1e-5)
    assert 200 < exact < epsilon_of([Mechanism(0.1, 1.0, 3)], 1e-5) < exact * (1 + 1e-4)


def test_a_grid_too_large_for_memory_is_made_coarser_and_stays_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accountant, "MOST_POINTS", 1 << 12)
    exact = closed_form(40.0, 400, 1e-5)
    found = epsilon_of([Mechanism(40.0, 1.0, 400)], 1e-5, eps_error=1e-6)
    assert exact + 1e-3 < found < 1.2 * exact


def test_delta_of_the_data_sets() -> None:
    assert [default_delta(rows) for rows in (1797, 60_000, 50_000, 1_281_167)] == [1e-4, 1e-6, 1e-6, 1e-7]
    assert all(0 < default_delta(rows) < 1 / rows for rows in range(1, 2000))
    assert delta_for(1293, None) == 1e-4 and delta_for(1293, 2e-5) == 2e-5
    for asked in (0.0, -1e-5, 1 / 1293, 0.5, 1.0, math.nan):
        with pytest.raises(UsageError, match="between 0 and 1/1293"):
            delta_for(1293, asked)


@pytest.mark.parametrize(
    ("mechanism", "delta", "reason"),
    [
        (Mechanism(1.0, 1.01, 3), 1e-5, "rate"),
        (Mechanism(1.0, math.nan, 3), 1e-5, "rate"),
        (Mechanism(-1.0, 0.1, 3), 1e-5, "noise multiplier"),
        (Mechanism(math.inf, 0.1, 3), 1e-5, "noise multiplier"),
        (Mechanism(1.0, 0.1, 3), 0.0, "delta"),
        (Mechanism(1.0, 0.1, 3), 1.0, "delta"),
        (Mechanism(1.0, 0.1, 3), 1e-11, "accountant=rdp"),
    ],
)
def test_what_is_no_mechanism_is_refused(mechanism: Mechanism, delta: float, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        epsilon_of([mechanism], delta)
