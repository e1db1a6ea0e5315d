"""Whether rankings agree: rows that rank explainers, and metrics that do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.run.interval import FEWEST_ROWS

Table = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Concordance:
    """Agreement of so many raters, 1 where all rank alike; p that they rank at random (None for few raters)."""

    statistic: str
    value: float
    p: float | None
    raters: int


def concordance(ratings: Table) -> Concordance | None:
    """Kendall's W of raters, tau-b of two; None without two raters, two items and a difference between items.

    ratings: [raters, items]; raters with an undefined rating are left out.
    """
    kept = ratings[np.isfinite(ratings).all(1)].astype(np.float64)
    if len(kept) < 2 or kept.shape[1] < 2:
        return None
    if len(kept) == 2:
        value = tau_b(kept[0], kept[1])
        return None if value is None else Concordance("tau-b", value, None, 2)
    value = kendall_w(kept)
    if value is None:
        return None
    from scipy.stats import chi2

    freedom = kept.shape[1] - 1
    p = float(chi2.sf(len(kept) * freedom * value, freedom)) if len(kept) >= FEWEST_ROWS else None
    return Concordance("kendall-w", value, p, len(kept))


def kendall_w(ratings: Table) -> float | None:
    """Coefficient of concordance, corrected for ties (Kendall and Babington Smith, 1939).

    ratings: [raters, items]; 12 S / (m^2 (n^3 - n) - m sum(t^3 - t)) with S the sum of squares of the items' rank sums
    around their mean. None where every rater ties all items.
    """
    from scipy.stats import rankdata

    ranks = rankdata(ratings, axis=1)
    raters, items = ranks.shape
    sizes = (ratings[:, :, None] == ratings[:, None, :]).sum(2)  # of the tie that each item is in
    ties = int((sizes**2 - 1).sum())  # sum(t^3 - t) over ties is sum(t^2 - 1) over their items
    whole = raters**2 * (items**3 - items) - raters * ties
    sums = ranks.sum(0)
    return float(12 * ((sums - sums.mean()) ** 2).sum() / whole) if whole > 0 else None


def tau_b(first: Table, second: Table) -> float | None:
    """Kendall's rank correlation, corrected for ties (Kendall, 1945); None where one ties all items."""
    from scipy.stats import kendalltau

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(kendalltau(first, second, variant="b").statistic)
