"""What a model gets wrong of the share of rows that it is surest of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from xaicli.evaluate.known_scores import OwnScore
from xaicli.evaluate.models import right
from xaicli.evaluate.open_rows import KNOWN
from xaicli.evaluate.open_set import unknown_rows
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.statistics import RESAMPLES, Estimate, Values, proportion_estimate
from xaicli.evaluate.whole import Bits, Columns, Facts, Figure
from xaicli.run.interval import FEWEST_ROWS, LEVEL
from xaicli.run.random import generator
from xaicli.signatures import Share

POINTS = 100  # of the curve that a record holds


def selective_risk(confidence: Values, right: Bits) -> Values:
    """Share of errors among the k surest rows, for k = 1 to n, where the coverage is k / n (El-Yaniv and Wiener, 2010).

    confidence: finite, [n]. right: bool [n]. Rows that are equally sure come in any order: their mean over all orders.
    """
    levels = np.unique(-confidence, return_inverse=True)[1]  # the surest first
    sizes = np.bincount(levels)
    expected = np.bincount(levels, weights=~right) / sizes  # errors of one row of each level
    risk: Values = np.repeat(expected, sizes).cumsum() / np.arange(1, len(levels) + 1)
    return risk


def area_under_risk(confidence: Values, right: Bits, *, seed: int = 0) -> Estimate:
    """Mean of the selective risk over all coverages, AURC, lower is better (Geifman et al., 2019).

    With a percentile bootstrap interval over rows.
    """
    n = len(confidence)
    if not n:
        return Estimate(None, None, None, 0, 0)
    value = float(selective_risk(confidence, right).mean())
    if n < FEWEST_ROWS:
        return Estimate(value, None, None, n, 0)
    rng = generator(seed, f"bootstrap:{n}")
    drawn = []
    for _ in range(RESAMPLES):
        rows = rng.integers(n, size=n)
        drawn.append(selective_risk(confidence[rows], right[rows]).mean())
    low, high = (float(bound) for bound in np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Estimate(value, low, high, n, 0)


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """Each source's risk over all coverages, and what it answers and gets right at one of them."""
    return [[*_figures(own, one, options["coverage"], seed)] for own, one in zip(columns, facts, strict=True)]


def _figures(own: Columns, facts: Facts, coverage: float | None, seed: int) -> Iterator[Figure]:
    known = (own["origin"] == KNOWN) & np.isfinite(own["right"])
    confidence, hits = own[""][known], own["right"][known] > 0
    yield Figure(
        "", area_under_risk(confidence, hits, seed=seed), "lower", details={"curve": risk_curve(confidence, hits)}
    )
    yield Figure("forced-accuracy", proportion_estimate(own["right"][known]), "higher", proportion=True)
    kept = own["kept"] if coverage is None else covered(own[""], confidence, coverage)
    if not np.isfinite(kept[known]).all():
        return
    answered = known & (kept > 0)
    yield Figure("coverage", proportion_estimate(kept[known]), "neither", proportion=True)
    yield Figure("accuracy", proportion_estimate(own["right"][answered]), "higher", proportion=True)
    for name, rows in unknown_rows(own, facts):
        yield Figure("unknown-refused", proportion_estimate(1 - kept[rows]), "higher", proportion=True, against=name)


def covered(scores: Values, known: Values, coverage: float) -> Values:
    """1 for every row that scores as high as the surest of the known rows, of which this share is kept, else 0."""
    count = math.ceil(coverage * len(known) - 1e-9)
    threshold = np.sort(known)[len(known) - count] if count else np.inf
    return (scores >= threshold).astype(np.float64)


def risk_curve(confidence: Values, right: Bits) -> list[list[float]]:
    """Coverage and selective risk at up to 100 coverages."""
    risk = selective_risk(confidence, right)
    n = len(risk)
    places = np.unique(np.linspace(1, n, min(POINTS, n)).round().astype(np.int64))
    return [[int(place) / n, float(risk[place - 1])] for place in places]


@reports(parts=("origin", "right", "kept"), together=figures)
def selective(
    own_score: OwnScore, logits: Tensor, labels: Tensor, origin: Tensor, *, coverage: Share | None = None
) -> Scores:
    """Mean error over the shares of rows that are answered, AURC, lower is better (Geifman et al., 2019).

    The rows' values say how sure the model is: the score of its own detector, or the largest probability where it has
    none. The surest rows are answered first, from none to all; rows that are equally sure come in any order. Beside the
    area stand the accuracy if every row is answered (forced) and, at the stored threshold, the share of rows answered
    (coverage) with the accuracy on these. coverage: another share of the rows judged to answer. Rows of unknown classes
    count for neither; what share of them is refused stands beside, for each data set that is named with --unknown.
    """
    parts = {"origin": origin.double(), "right": right(logits, labels), "kept": own_score.kept}
    return Scores(own_score.score, parts)
