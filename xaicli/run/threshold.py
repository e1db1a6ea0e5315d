"""Where the known ends: the score below which a row is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.errors import InputError, UsageError
from xaicli.run.interval import clopper_pearson


@dataclass(frozen=True)
class Threshold:
    """A row is kept when its score is at least `value`, however high, and refused below.

    kept, rows: how many of how many known rows that were held out it keeps. low, high: the 95 % interval of the share
    of known rows that it keeps, none for fewer than 20 rows.
    """

    value: float
    kept: int
    rows: int
    low: float | None
    high: float | None

    def keeps(self, scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
        """Which rows are known, bool [n]; a score that is not a number is refused."""
        kept: npt.NDArray[np.bool_] = scores >= self.value
        return kept


def threshold_at(scores: npt.NDArray[np.floating[Any]], *, tpr: float = 0.95) -> Threshold:
    """The largest threshold that keeps at least this share of the known rows.

    scores: of known rows that neither the network nor the detector was fitted on, [n], higher is more known. One-sided:
    no score is too high. Equal scores stand on the same side, so more rows may be kept than asked for. Raises
    UsageError for a share outside (0, 1], InputError without rows or with scores that are not finite.
    """
    if not 0 < tpr <= 1:
        raise UsageError(f"tpr={tpr:g} is no share of rows to keep; give a number over 0 and up to 1.")
    if not len(scores) or not np.isfinite(scores).all():
        raise InputError(
            f"a threshold needs finite scores of known rows, but {int((~np.isfinite(scores)).sum())} of "
            f"{len(scores)} are not finite; hold data out, or take another detector."
        )
    needed = math.ceil(tpr * len(scores) - 1e-9)  # .55 * 100 is a little more than 55
    value = float(np.sort(scores)[len(scores) - needed])
    kept = int((scores >= value).sum())
    return Threshold(value, kept, len(scores), *clopper_pearson(kept, len(scores)))
