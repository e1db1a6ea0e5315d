"""How well a detector's scores tell known rows from unknown ones, and how well known classes are told then.

Scores are finite and higher for what is more known. Where the two groups share a score, they stand on the same side of
every threshold. The area under the ROC curve is separation.area(known, unknown). All intervals are percentile
bootstraps over known and unknown rows apart.
"""

from __future__ import annotations

import numpy as np

from xaicli.evaluate.separation import Counts, all_over_levels, area, area_of, over_levels
from xaicli.evaluate.statistics import Estimate, Values
from xaicli.evaluate.whole import Bits

SHARE = 0.95
FIGURES = ("auroc", "aupr-in", "aupr-out", "fpr95-unknown-kept", "fpr95-known-refused", "oscr")


def detection_figures(known: Values, right: Bits, unknown: Values, *, seed: int = 0) -> dict[str, Estimate]:
    """All figures of a detector by name, in the order of FIGURES; their intervals are of the same resampled rows.

    right: whether a known row's class is predicted rightly, bool [n].
    """

    def figures(above: Counts, below: Counts) -> list[float]:
        return [
            area_of(above, below),
            _average_precision(above, below),
            _average_precision(below[::-1], above[::-1]),
            _false_positives(above, below, SHARE),
            _false_positives(below[::-1], above[::-1], SHARE),
        ]

    found = all_over_levels(figures, known, unknown, count=len(FIGURES) - 1, seed=seed)
    rate = open_set_classification_rate(known, right, unknown, seed=seed)
    return dict(zip(FIGURES, [*found, rate], strict=True))


def precision_of_known(known: Values, unknown: Values, *, seed: int = 0) -> Estimate:
    """Average precision where known rows are to be found, AUPR-in: no interpolation (Manning et al., 2008)."""
    return over_levels(_average_precision, known, unknown, seed=seed)


def precision_of_unknown(known: Values, unknown: Values, *, seed: int = 0) -> Estimate:
    """Average precision where unknown rows are to be found, AUPR-out."""
    return over_levels(lambda above, below: _average_precision(below[::-1], above[::-1]), known, unknown, seed=seed)


def unknown_kept_where_known_are_kept(
    known: Values, unknown: Values, *, share: float = SHARE, seed: int = 0
) -> Estimate:
    """Share of unknown rows that pass the largest threshold which keeps this share of the known ones.

    FPR95 with the known rows as positives.
    """
    return over_levels(lambda above, below: _false_positives(above, below, share), known, unknown, seed=seed)


def known_refused_where_unknown_are_refused(
    known: Values, unknown: Values, *, share: float = SHARE, seed: int = 0
) -> Estimate:
    """Share of known rows that fail the smallest threshold which refuses this share of the unknown ones.

    FPR95 with the unknown rows as positives.
    """

    def figure(above: Counts, below: Counts) -> float:
        return _false_positives(below[::-1], above[::-1], share)

    return over_levels(figure, known, unknown, seed=seed)


def open_set_classification_rate(known: Values, right: Bits, unknown: Values, *, seed: int = 0) -> Estimate:
    """Area under the share of known rows kept and right, over the share of unknown rows kept (Dhamija et al., 2018).

    right: whether a known row's class is predicted rightly, bool [n]. The probability that a known row is right and
    scores higher than an unknown one, equals counting half: a wrong row loses against every unknown one.
    """
    return area(np.where(right, known, -np.inf), unknown, seed=seed)


def balanced_accuracy_at(known: Values, unknown: Values, threshold: float, *, seed: int = 0) -> Estimate:
    """Mean of the share of known rows that score at least the threshold and the share of unknown rows that do not."""
    return area((known >= threshold).astype(float), (unknown >= threshold).astype(float), seed=seed)


def _average_precision(positives: Counts, others: Counts) -> float:
    """The precision at each threshold, weighted by the positives that it adds."""
    found, passed = positives[::-1].cumsum(), (positives + others)[::-1].cumsum()
    precision = found / np.maximum(passed, 1)  # a resample may have no row at the highest scores
    return float((precision * positives[::-1]).sum() / found[-1])


def _false_positives(positives: Counts, others: Counts, share: float) -> float:
    """Share of the others at or above the highest score that so many positives have at least."""
    found = positives[::-1].cumsum()
    place = int(np.searchsorted(found, share * found[-1] - 1e-9))
    return float(others[::-1][: place + 1].sum() / others.sum())
