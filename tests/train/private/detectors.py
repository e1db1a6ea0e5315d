"""What the releases of a private training must look like, as tests whose p-values a fault drives to zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, chi2, kstest, kurtosistest, norm

CAUGHT = 1e-6  # a sound training falls below it once in a million tests


@dataclass(frozen=True)
class Releases:
    """What one training did in every step.

    rows: the positions whose gradients were added up. noise: by parameter [steps, values], what the step has on top of
    their clipped sum, in units of noise_multiplier * max_grad_norm.
    """

    total: int
    rate: float
    rows: Sequence[NDArray[np.int64]]
    noise: dict[str, NDArray[np.float64]]

    @property
    def drawn(self) -> NDArray[np.float64]:
        """How often each step used each row, [steps, total]."""
        return np.array([np.bincount(rows, minlength=self.total) for rows in self.rows], dtype=np.float64)

    @property
    def values(self) -> NDArray[np.float64]:
        """All noise, [steps, values]."""
        return np.concatenate(list(self.noise.values()), 1)


def two_sided(statistic: float, freedom: float) -> float:
    """The p-value of a chi-square that may be too small or too large."""
    return float(min(1.0, 2 * min(chi2.cdf(statistic, freedom), chi2.sf(statistic, freedom))))


def once(releases: Releases) -> float:
    """No step uses a row twice."""
    return float(releases.drawn.max() <= 1)


def batch_sizes(releases: Releases) -> float:
    """Sizes are binomial: their variance is n q (1 - q), where batches of a shuffled pass have none."""
    sizes, n, q = releases.drawn.sum(1), releases.total, releases.rate
    return two_sided(float(((sizes - n * q) ** 2).sum() / (n * q * (1 - q))), len(sizes))


def row_counts(releases: Releases) -> float:
    """How often each row is used is binomial: over T steps T q (1 - q), where a shuffled pass uses each once."""
    counts, steps, q = releases.drawn.sum(0), len(releases.rows), releases.rate
    return two_sided(float(((counts - steps * q) ** 2).sum() / (steps * q * (1 - q))), len(counts))


def mean_rate(releases: Releases) -> float:
    """Rows are drawn at the rate that the accountant was told."""
    drawn, q = releases.drawn, releases.rate
    return float(2 * norm.sf(abs(drawn.sum() - drawn.size * q) / np.sqrt(drawn.size * q * (1 - q))))


def steps_apart(releases: Releases) -> float:
    """What a step draws says nothing about later draws: the rows that steps share, summed by distance, are binomial."""
    shared, chance = releases.drawn @ releases.drawn.T, releases.rate**2
    each = []
    for apart in range(1, len(shared)):
        found, trials = shared.trace(apart), releases.total * (len(shared) - apart)
        each.append(2 * min(binom.cdf(found, trials, chance), binom.sf(found - 1, trials, chance)))
    return _least(each)


def noise_scale(releases: Releases) -> float:
    """The noise has the standard deviation that the accountant was told, in every parameter."""
    each = [two_sided(float((noise**2).sum()), noise.size) for noise in releases.noise.values()]
    return _least(each)


def noise_mean(releases: Releases) -> float:
    """It has no direction."""
    values = releases.values
    return float(2 * norm.sf(abs(values.sum()) / np.sqrt(values.size)))


def noise_shape(releases: Releases) -> float:
    """It is normal, with the tails of a normal distribution."""
    values = releases.values.ravel()
    return _least([kstest(values, "norm").pvalue, kurtosistest(values).pvalue])


def noise_of_steps_apart(releases: Releases) -> float:
    """The noise of a step says nothing about that of others, or a difference of two would show what is below it."""
    return _unrelated(releases.values)


def noise_of_parameters_apart(releases: Releases) -> float:
    """Nor does the noise of a parameter about that of others."""
    shortest = min(noise[0].size for noise in releases.noise.values())
    return _unrelated(np.array([noise[:, :shortest].ravel() for noise in releases.noise.values()]))


DETECTORS: tuple[Callable[[Releases], float], ...] = (
    once,
    batch_sizes,
    row_counts,
    mean_rate,
    steps_apart,
    noise_scale,
    noise_mean,
    noise_shape,
    noise_of_steps_apart,
    noise_of_parameters_apart,
)


def faults(releases: Releases) -> set[str]:
    """The names of the detectors that find something wrong."""
    return {test.__name__ for test in DETECTORS if not test(releases) >= CAUGHT}


def _unrelated(vectors: NDArray[np.float64]) -> float:
    """Of [k, d] values of mean 0 and variance 1: the largest product of two vectors, corrected for their number."""
    products = vectors @ vectors.T / np.sqrt(vectors.shape[1])
    pairs = products[np.triu_indices(len(vectors), 1)]
    return _least(2 * norm.sf(np.abs(pairs)))


def _least(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The p-value of the smallest of several, by Bonferroni."""
    return float(min(1.0, len(values) * np.min(values))) if len(values) else 1.0
