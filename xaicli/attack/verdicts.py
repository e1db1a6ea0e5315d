"""Sanity verdicts in a store: which checks were asked for stands in an attribute, what they found in a curve.

They are measured once, by whoever computes the first rows, and no row is theirs. A mean curve of a single row says
that, and survives shards and interruptions like every curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.files.store import Store

CURVE = ATTRIBUTE = "sanity"


@dataclass(frozen=True)
class Verdict:
    """What one check found."""

    passed: bool
    value: float


def listed(checks: Mapping[str, str]) -> dict[str, Any]:
    """The attribute that says which checks the curve is about, in its order."""
    return {ATTRIBUTE: [list(check) for check in checks.items()]} if checks else {}


def points(checks: Mapping[str, str]) -> dict[str, int]:
    """The length of the curve that holds the verdicts of so many checks."""
    return {CURVE: 2 * len(checks)} if checks else {}


def to_curve(
    verdicts: Sequence[Verdict] | None, status: npt.NDArray[np.uint8], ok: int, checks: int
) -> npt.NDArray[Any]:
    """The curve [n, 2 * checks] of some rows: the verdicts in the first row whose status is `ok`, nothing in others.

    verdicts: in the order of the checks; None for rows that are not the first of the store.
    """
    curve = np.full((len(status), 2 * checks), np.nan)
    if verdicts is not None and (status == ok).any():
        curve[int(np.argmax(status == ok))] = [part for one in verdicts for part in (one.value, float(one.passed))]
    return curve


def stored_verdicts(store: Store) -> dict[str, Any]:
    """By check what it found: whether it passed, its value, and what it means. Empty without sanity checks."""
    checks: Sequence[tuple[str, str]] = store.attributes.get(ATTRIBUTE, [])
    if not checks:
        return {}
    found = store.curves()[CURVE].reshape(-1, 2)
    return {
        ATTRIBUTE: {
            check: {"passed": bool(passed) if np.isfinite(passed) else None, "value": float(value), "means": means}
            for (check, means), (value, passed) in zip(checks, found, strict=True)
        }
    }
