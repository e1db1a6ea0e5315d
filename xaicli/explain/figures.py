"""What the record of an attributions store says."""

from __future__ import annotations

from typing import Any

import numpy as np

from xaicli.files.columns import Status
from xaicli.files.store import Store


def figures(store: Store) -> dict[str, Any]:
    """Forwards per row, the mean absolute gap of a method that promises a sum, and what steps a tolerance cost."""
    found: dict[str, Any] = {"forwards_per_row": store.attributes["forwards"]}
    if "completeness" in store.columns:
        gaps = np.abs(store.column("completeness"))
        found["completeness"] = float(np.nanmean(gaps)) if np.isfinite(gaps).any() else None
    if "steps" in store.columns:
        steps = store.column("steps")[store.column("status") == Status.OK]
        found["steps"] = {"mean": float(steps.mean()), "max": int(steps.max())} if len(steps) else None
    return found
