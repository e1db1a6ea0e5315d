"""Temperature scaling: one number that the logits are divided by, fitted on rows that the training did not see."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.run.calls import Calls


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The root: the temperature that a model's held-out rows ask for, found once a run; NaN where there is none.

    facts: which rows those are.
    """

    temperature: Callable[[Calls], float]
    facts: Mapping[str, Any]


def temperature(subject: Subject, held_out: HeldOut) -> float:
    """What the logits are to be divided by."""
    return held_out.temperature(subject.calls)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of least cross-entropy, exact in float64 (Guo et al., 2017).

    logits: [n, K]; labels: int64 [n], all known. The loss is convex in 1 / T, so the root of its slope is the minimum.
    NaN where no positive finite T is: every row is right (the smaller the better), or the true classes' logits are on
    average no larger than the others' (the larger the better).
    """
    from scipy.optimize import brentq

    values = logits.double().cpu().numpy()
    values = values - values.max(1, keepdims=True)
    true = float(values[np.arange(len(values)), labels.cpu().numpy()].mean())

    def slope(inverse: float) -> float:
        weights = np.exp(inverse * values)
        return float(((weights * values).sum(1) / weights.sum(1)).mean()) - true

    if not slope(0.0) < 0 < -true:
        return math.nan
    low = high = 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    while slope(low) > 0:
        low, high = low / 2, low
    inverse = float(brentq(slope, low, high, xtol=sys.float_info.min, rtol=4 * sys.float_info.epsilon))
    return 1 / inverse


QUERIES = (temperature,)
