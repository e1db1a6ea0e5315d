"""What a private training costs: the epsilon of its steps, by the accountants of Opacus kept to where they are valid.

Every step is the Gaussian mechanism on an independent Bernoulli sample of the rows; data sets are neighbours if one
row more makes one of the other. How much noise, or how many steps, a budget allows is in `solve.py`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import UsageError

MOST_ERROR = 0.01  # of epsilon, that the numbers of PRV may be off by; it is added to them
ERROR_SHARE = 0.005  # of epsilon, if that is less
LEAST_ERROR = 1e-4  # finer grids than this one needs take minutes
DELTA_SHARE = 1e-3  # of delta, that PRV's truncation may cost
LEAST_DELTA = 1e-10  # below it the rounding of the convolution shows in PRV
MOST_POINTS = 1 << 23  # of the grid: 64 MB an array
MOST_LOSS = 500.0  # on the grid; exp(709) is infinite
ORDERS = (
    *(1 + n / 10 for n in range(1, 100)),
    *range(12, 64),
    *(64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1000),
)
"""Renyi orders: those of Opacus, whose largest is too small for an epsilon of 0.05, and larger ones."""


@dataclass(frozen=True, order=True)
class Mechanism:
    """Equal steps: noise of standard deviation `noise_multiplier` times the bound of a row, rows drawn at a rate."""

    noise_multiplier: float
    sample_rate: float
    steps: int


def default_delta(rows: int) -> float:
    """The power of ten at or below rows^-1.1."""
    return 10.0 ** min(math.floor(-1.1 * math.log10(rows)), -1)


def delta_for(rows: int, asked: float | None) -> float:
    """The delta that was asked for, or the default. Raises UsageError for one that promises nothing."""
    delta = default_delta(rows) if asked is None else asked
    if not 0 < delta < 1 / rows:
        raise UsageError(
            f"delta {delta:g} is not between 0 and 1/{rows}: with more, to publish one of the {rows} images outright "
            f"would count as private; leave delta out for {default_delta(rows):g}."
        )
    return delta


def epsilon_of(
    mechanisms: Sequence[Mechanism], delta: float, accountant: str = "prv", eps_error: float | None = None
) -> float:
    """An upper bound of epsilon at this delta after all the steps, in any order; infinite where there is no noise.

    accountant: prv is numerical composition of privacy losses (Gopi et al., 2021), within eps_error of the truth; rdp
    the looser bound of Renyi divergences (Mironov, 2017), which also stands in for an epsilon of hundreds. eps_error:
    None is 0.01, or 0.5 % of an epsilon below 2. Raises UsageError for what is no mechanism.
    """
    steps: dict[tuple[float, float], int] = {}
    for one in mechanisms:
        if not 0 <= one.sample_rate <= 1:
            raise UsageError(f"rows cannot be drawn at a rate of {one.sample_rate:g}; it is between 0 and 1.")
        if not 0 <= one.noise_multiplier < math.inf:
            raise UsageError(f"the noise multiplier {one.noise_multiplier:g} is not a finite number of 0 or more.")
        if one.steps and one.sample_rate:
            kind = (float(one.noise_multiplier), float(one.sample_rate))
            steps[kind] = steps.get(kind, 0) + one.steps
    if not 0 < delta < 1:
        raise UsageError(f"delta {delta:g} is not between 0 and 1.")
    if not steps:
        return 0.0
    if any(not noise for noise, _ in steps):
        return math.inf
    if accountant == "prv" and delta < LEAST_DELTA:
        raise UsageError(f"the prv accountant is not exact for a delta below {LEAST_DELTA:g}; use accountant=rdp.")
    whole = tuple(Mechanism(*kind, steps=steps[kind]) for kind in sorted(steps))
    return _epsilon(whole, delta, accountant, eps_error)


@lru_cache(maxsize=256)  # a training's last epoch is also its checkpoint's
def _epsilon(mechanisms: tuple[Mechanism, ...], delta: float, accountant: str, eps_error: float | None) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of logarithms of 0, which are meant, and of quadrature at a step
        if accountant == "rdp":
            return _renyi(mechanisms, delta)
        if eps_error is not None:
            return _numerical(mechanisms, delta, eps_error)
        rough = _numerical(mechanisms, delta, MOST_ERROR)
        error = min(MOST_ERROR, max(ERROR_SHARE * (rough - MOST_ERROR), LEAST_ERROR))
        return rough if error == MOST_ERROR else _numerical(mechanisms, delta, error)


def _renyi(mechanisms: Sequence[Mechanism], delta: float) -> float:
    from opacus.accountants.analysis.rdp import get_privacy_spent

    divergence = sum(one.steps * _divergence(one.noise_multiplier, one.sample_rate) for one in mechanisms)
    return max(float(get_privacy_spent(orders=ORDERS, rdp=divergence, delta=delta)[0]), 0.0)


@lru_cache(maxsize=1024)  # of a step, for any number of them
def _divergence(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    """Of each of the ORDERS."""
    from opacus.accountants.analysis.rdp import compute_rdp

    return np.asarray(compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=ORDERS))


def _numerical(mechanisms: Sequence[Mechanism], delta: float, eps_error: float) -> float:
    """The upper end of Opacus' PRV, on a grid whose size has small factors: others take ten times as long."""
    from opacus.accountants.analysis import prv
    from scipy.fft import next_fast_len

    counts, slack = [one.steps for one in mechanisms], DELTA_SHARE * delta
    steps = sum(counts)
    single = max(_renyi([replace(one, steps=1)], slack / (8 * steps)) for one in mechanisms)
    reach = max(_renyi(mechanisms, slack / 4), single, eps_error) + 3  # remark 5.6
    if not reach < MOST_LOSS:
        return _renyi(mechanisms, delta)
    fineness = math.sqrt(steps * math.log(12 / slack) / 2)  # theorem 5.5: the error in steps of the grid
    eps_error = max(eps_error, 2 * reach * fineness / MOST_POINTS)
    mesh = eps_error / fineness
    half = int(next_fast_len(math.ceil(reach / mesh) + 1))
    grid = prv.Domain((1 - half) * mesh, half * mesh, 2 * half)  # zero lies where Opacus' composition expects it
    losses = [prv.PoissonSubsampledGaussianPRV(one.sample_rate, one.noise_multiplier) for one in mechanisms]
    parts = [prv.discretize(prv.TruncatedPrivacyRandomVariable(one, grid.t_min, grid.t_max), grid) for one in losses]
    return max(float(prv.compose_heterogeneous(parts, counts).compute_epsilon(delta, slack, eps_error)[2]), 0.0)
