"""The account of a published table: Opacus' MNIST example, epsilon 1.16, 2.91 and 6.86 at delta 1e-5.

Its commands name the noise, the epochs and the rate 0.004, which makes 250 steps an epoch. Its epsilons are by the
conversion of Mironov (2017); later ones are tighter for the same trainings.
"""

from __future__ import annotations

import math

import pytest

from tests.train.private.oracles import by_pld, renyi
from xaicli.train.private.accountant import ORDERS, Mechanism, epsilon_of
from xaicli.train.private.solve import noise_for

DELTA = 1e-5
TABLE = [(1.16, 1.3, 15), (2.91, 1.1, 60), (6.86, 0.7, 45)]  # epsilon, noise multiplier, epochs


@pytest.mark.parametrize(("published", "noise", "epochs"), TABLE)
def test_the_settings_give_what_was_published(published: float, noise: float, epochs: int) -> None:
    mechanism = Mechanism(noise, 0.004, 250 * epochs)
    then = min(renyi(mechanism, order) - math.log(DELTA) / (order - 1) for order in ORDERS)
    assert round(then, 2) == published
    later = epsilon_of([mechanism], DELTA, "rdp")
    assert epsilon_of([mechanism], DELTA) < later < published


@pytest.mark.parametrize(("row", "later", "now"), [(0, 0.92, 0.84), (1, 2.5, 2.31), (2, 6.09, 5.44)])
def test_what_the_same_trainings_cost_by_later_accountants(row: int, later: float, now: float) -> None:
    _, noise, epochs = TABLE[row]
    mechanism = Mechanism(noise, 0.004, 250 * epochs)
    assert round(epsilon_of([mechanism], DELTA, "rdp"), 2) == later
    assert round(epsilon_of([mechanism], DELTA), 2) == now
    assert 0 < epsilon_of([mechanism], DELTA) - by_pld([mechanism], DELTA) < 0.0105


@pytest.mark.parametrize(("epsilon", "published", "epochs"), TABLE)
def test_the_published_budgets_are_met_with_less_noise(epsilon: float, published: float, epochs: int) -> None:
    noise = noise_for(epsilon, DELTA, 0.004, 250 * epochs)
    assert noise < 0.95 * published
    assert 0.99 * epsilon < by_pld([Mechanism(noise, 0.004, 250 * epochs)], DELTA) < epsilon
