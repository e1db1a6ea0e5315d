"""The lower bound on epsilon that right guesses about the canaries of one training prove.

Steinke, Nasr and Jagielski (2023), Theorem 5.2: of an (epsilon, delta)-private training that has each of m canaries by
the toss of a fair coin, whoever makes r guesses is right at least v times with a probability of at most

    P[B >= v] + 2 m delta max_i P[v > B >= v - i] / i,   B ~ Binomial(r, e^epsilon / (1 + e^epsilon)).
"""

from __future__ import annotations

import numpy as np

from xaicli.run.interval import LEVEL

STEPS = 40  # of the bisection, from an interval of 1


def p_value(m: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The probability of so many right guesses of a training that is (epsilon, delta)-private, at most."""
    from scipy.stats import binom

    share = 1 / (1 + np.exp(-epsilon))
    extra = 0.0
    if right and delta:
        below = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, share))
        extra = 2 * m * delta * float((below / np.arange(1, right + 1)).max())
    return min(float(binom.sf(right - 1, guesses, share)) + extra, 1.0)


def lower_bound(m: int, guesses: int, right: int, delta: float, confidence: float = LEVEL) -> float:
    """The epsilon that the training exceeds with this confidence, at this delta; 0 where nothing is proved.

    The number of guesses must not depend on how they turn out. Found from below by bisection to 1e-12.
    """
    allowed = 1 - confidence
    low, high = 0.0, 0.0
    while p_value(m, guesses, right, high, delta) < allowed:
        low, high = high, high + 1
    for _ in range(STEPS if high else 0):
        middle = (low + high) / 2
        if p_value(m, guesses, right, middle, delta) < allowed:
            low = middle
        else:
            high = middle
    return low
