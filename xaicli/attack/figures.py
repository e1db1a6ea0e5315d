"""What the record of an attack's images says: fractions over the rows that are ok."""

from __future__ import annotations

from typing import Any

from xaicli.files.columns import Status
from xaicli.files.store import Store


def figures(store: Store) -> dict[str, Any]:
    """Clean and robust accuracy and the success rate.

    Rows that were wrong on their clean image are errors, but not successes of the attack.
    """
    ok = store.column("status") == Status.OK
    if not ok.any():
        return {}
    label = store.column("label")[ok]
    clean = store.column("clean_prediction")[ok] == label
    right = store.predicted()[ok] == label
    success = store.column("success")[ok]
    return {
        "clean_accuracy": float(clean.mean()),
        "robust_accuracy": float((clean & right).mean()),
        "success_rate": float(success.sum() / clean.sum()) if clean.any() else None,
    }
