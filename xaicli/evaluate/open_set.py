"""Whether a model tells what it does not know: every detector's figures, and the decisions of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, full_like, nan

from xaicli.evaluate.detection import detection_figures
from xaicli.evaluate.direction import Better
from xaicli.evaluate.known_scores import OwnScore
from xaicli.evaluate.models import right
from xaicli.evaluate.open_rows import KNOWN
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.separation import area
from xaicli.evaluate.statistics import Values, proportion_estimate
from xaicli.evaluate.whole import Bits, Columns, Facts, Figure
from xaicli.models.detectors.table import DETECTORS

NAMES = (*DETECTORS, "odin")


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """Of each source its own decisions, then every detector, against each source of unknown rows."""
    return [[*_own(own, one, seed), *_detectors(own, one, seed)] for own, one in zip(columns, facts, strict=True)]


def unknown_rows(own: Columns, facts: Facts) -> Iterator[tuple[str, Bits]]:
    """The sources of unknown rows by name, and which rows are theirs."""
    for number, source in enumerate(facts["unknown"], KNOWN + 1):
        yield source["name"], own["origin"] == number


def _own(own: Columns, facts: Facts, seed: int) -> Iterator[Figure]:
    """The accuracy, and what the checkpoint's own detector decides, if it has one."""
    known, kept = own["origin"] == KNOWN, own["kept"]
    yield Figure("closed-accuracy", proportion_estimate(own["right"][known]), "higher", proportion=True)
    if facts["detector"] is None:
        return
    yield Figure("known-kept", proportion_estimate(kept[known]), "higher", proportion=True)
    for name, rows in unknown_rows(own, facts):
        decided = np.concatenate([kept[known], 1 - kept[rows]])  # what is kept of the known, and refused of the others
        always = {"always_known": float(known.sum() / len(decided))}
        proportions = {
            "unknown-refused": (proportion_estimate(1 - kept[rows]), {}),
            "balanced-accuracy": (area(kept[known], kept[rows], seed=seed), {}),
            "known-or-unknown-accuracy": (proportion_estimate(decided), always),
        }
        of = {"detector": facts["detector"]}
        scores = _refused_if_nan(own[""])
        yield Figure("", area(scores[known], scores[rows], seed=seed), "higher", against=name, details=of)
        for part, (estimate, details) in proportions.items():
            yield Figure(part, estimate, "higher", proportion=True, against=name, details=details)


def _detectors(own: Columns, facts: Facts, seed: int) -> Iterator[Figure]:
    known = own["origin"] == KNOWN
    hits = own["right"][known] > 0
    for detector in NAMES:
        if np.isnan(own[detector]).all():  # it was not asked
            continue
        scores = _refused_if_nan(own[detector])
        for name, rows in unknown_rows(own, facts):
            for part, estimate in detection_figures(scores[known], hits, scores[rows], seed=seed).items():
                rate = part.startswith("fpr95")
                better: Better = "lower" if rate else "higher"
                yield Figure(part, estimate, better, proportion=rate, against=name, detector=detector)


def _refused_if_nan(scores: Values) -> Values:
    return np.where(np.isnan(scores), -np.inf, scores)


@reports(parts=("origin", "right", "kept", *NAMES), together=figures)
def open_set(
    own_score: OwnScore,
    detector_scores: Mapping[str, Tensor],
    odin_score: Tensor,
    logits: Tensor,
    labels: Tensor,
    origin: Tensor,
) -> Scores:
    """Area under the ROC curve of the checkpoint's own detector, higher is better (Hendrycks and Gimpel, 2017).

    Known rows of the test data against those of the classes that --known has left out (`@left-out`), and against each
    data set named with --unknown (`@DATA`); the rows' values are the detector's scores, higher for what looks more
    known. Beside it stand the shares of known rows kept and of unknown rows refused at the stored threshold, the mean
    of both (balanced accuracy), the share of all rows that are decided rightly, and the accuracy on the known rows if
    none is refused (closed). Every detector is judged too, fitted at its defaults on the training rows of the known
    classes by one pass of them, and asked by one pass of the rows judged; odin takes a gradient. Of each stand there
    the area, the average precision with known (in) and with unknown rows (out) as the positives, the share of unknown
    rows kept where 95 % of the known are, the share of known rows refused where 95 % of the unknown are, and OSCR, the
    area under the share of known rows kept and rightly classified. An uncertain checkpoint has no features, so msp and
    entropy of its mean prediction are all that it is judged by. Needs unknown rows.
    """
    missing = full_like(own_score.score, nan)
    parts = {
        "origin": origin.double(),
        "right": right(logits, labels),
        "kept": own_score.kept,
        **{name: detector_scores.get(name, missing) for name in DETECTORS},
        "odin": odin_score,
    }
    return Scores(own_score.score, parts)
