"""Epsilon by other means: in closed form, by integrals, and by the privacy loss distributions of dp-accounting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import norm

from xaicli.train.private.accountant import Mechanism


def closed_form(noise: float, steps: int, delta: float) -> float:
    """Of the Gaussian mechanism on all rows (Balle and Wang, 2018, theorem 8): delta(epsilon) solved for epsilon."""
    mu = math.sqrt(steps) / noise

    def excess(epsilon: float) -> float:
        return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu)) - delta

    return float(brentq(excess, 0, 500, xtol=1e-12)) if excess(0) > 0 else 0.0


def by_pld(mechanisms: Sequence[Mechanism], delta: float, grid: float = 1e-4) -> float:
    """An upper bound, of removing and of adding a row, and tighter the finer the grid of losses is."""
    losses = [
        from_gaussian_mechanism(
            one.noise_multiplier, sampling_prob=one.sample_rate, value_discretization_interval=grid
        ).self_compose(one.steps)
        for one in mechanisms
    ]
    return float(reduce(lambda all, one: all.compose(one), losses).get_epsilon_for_delta(delta))


def renyi(mechanism: Mechanism, order: float) -> float:
    """The divergence of all steps, by an integral over the noise of one (Mironov et al., 2019)."""
    noise, rate = mechanism.noise_multiplier, mechanism.sample_rate
    places = np.arange(-40 * noise, order + 40 * noise, noise / 20)
    ratio = np.logaddexp(np.log1p(-rate), np.log(rate) + (2 * places - 1) / (2 * noise**2))
    moment = logsumexp(norm.logpdf(places, 0, noise) + order * ratio) + np.log(noise / 20)
    return float(mechanism.steps * moment / (order - 1))


def by_integrals(mechanism: Mechanism, delta: float, orders: Sequence[float]) -> float:
    """An upper bound: the least over the orders (Balle et al., 2020, theorem 21)."""
    return min(
        renyi(mechanism, order) + math.log1p(-1 / order) - math.log(delta * order) / (order - 1) for order in orders
    )
