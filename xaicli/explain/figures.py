"""What the record of an attributions store says."""

from __future__ import annotations

from typing import Any

import numpy as np

from xaicli.files.store import Store


def figures(store: Store) -> dict[str, Any]:
    """Forwards per row, and the mean absolute completeness gap of a method that promises a sum."""
    found: dict[str, Any] = {"forwards_per_row": store.attributes["forwards"]}
    if "completeness" in store.columns:
        gaps = np.abs(store.column("completeness"))
        found["completeness"] = float(np.nanmean(gaps)) if np.isfinite(gaps).any() else None
    return found
