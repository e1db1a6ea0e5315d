"""What the record of generated images says."""

from __future__ import annotations

from typing import Any

import numpy as np

from xaicli.files.columns import UNKNOWN_LABEL, Status
from xaicli.files.store import Store


def figures(store: Store) -> dict[str, Any]:
    """The mean score; of images with a target the share that the model takes for it, of changes their median size."""
    ok = store.column("status") == Status.OK
    if not ok.any():
        return {}
    target, found = store.column("target")[ok], {"score": float(store.column("score")[ok].mean())}
    if (target != UNKNOWN_LABEL).any():
        found = {"target_accuracy": float((store.predicted()[ok] == target).mean()), **found}
    if "success" in store.columns:
        success = store.column("success")[ok]
        found["success_rate"] = float(success.mean())
        if success.any():
            found["median_distance"] = float(np.median(store.column("distance")[ok][success]))
    return found
