"""The Weibull distribution that makes given values most likely."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_ROUNDING = 1e-14  # of the largest value


def fit_weibull(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Shape and scale of the largest likelihood, at location 0 (Weibull, 1951).

    values: positive, at least two of them further apart than rounding, else ValueError. With y = log x, the shape c
    solves sum(x^c y) / sum(x^c) - 1 / c = mean(y), whose left side rises with c; the scale is (mean x^c)^(1/c).
    """
    from scipy.optimize import brentq

    top = float(values.max())
    logs = np.log(values / top)  # from the largest down, so that no power overflows
    spread = float(logs.std())
    if not spread > _ROUNDING:
        raise ValueError("values that are all equal have no Weibull distribution")
    units = logs / spread

    def slope(shape: float) -> float:
        powers = np.exp(shape * units)
        return float((powers * units).sum() / powers.sum() - 1 / shape - units.mean())

    low = high = float(1 / (units.max() - units.mean()))
    while slope(high) <= 0:
        high *= 2
    shape = float(brentq(slope, low / 2, high, xtol=1e-14, rtol=1e-14)) / spread
    return shape, top * float(np.exp(shape * logs).mean() ** (1 / shape))
