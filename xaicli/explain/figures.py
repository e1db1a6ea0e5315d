"""What the record of a store of `explain` says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.files.columns import Status
from xaicli.files.store import Store


def figures(store: Store) -> dict[str, Any]:
    """Forwards per row, the mean gap of a method that promises a sum, what steps a tolerance cost, and more.

    refused: the share of the rows that the checkpoint calls UNKNOWN.
    """
    found: dict[str, Any] = {"forwards_per_row": store.attributes["forwards"]}
    if "completeness" in store.columns:
        gaps = np.abs(store.column("completeness"))
        found["completeness"] = float(np.nanmean(gaps)) if np.isfinite(gaps).any() else None
    if "steps" in store.columns:
        steps = store.column("steps")[store.column("status") == Status.OK]
        found["steps"] = {"mean": float(steps.mean()), "max": int(steps.max())} if len(steps) else None
    if "refused" in store.columns:
        refused = store.column("refused")[store.column("status") == Status.OK]
        found["refused"] = float(refused.mean()) if len(refused) else None
    if store.kind == "representer":
        found |= _representer(store)
    return found


def _representer(store: Store) -> dict[str, Any]:
    """The largest identity error, and the refitted logits' correlation with the network's (Yeh et al., 2018)."""
    ok = store.column("status") == Status.OK
    if not ok.any():
        return {"identity_error": None, "fidelity_training": None, "fidelity": None}
    return {
        "identity_error": float(store.column("identity_error")[ok].max()),
        "fidelity_training": float(store.column("training_fidelity")[ok][0]),
        "fidelity": correlation(store.column("prediction")[ok], store.column("refitted")[ok]),
    }


def correlation(first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]]) -> float:
    """Pearson's correlation of logits [n, K], each row less its mean, which no probability depends on.

    NaN where they do not vary.
    """
    a, b = (np.ravel(x - x.mean(axis=1, dtype=np.float64, keepdims=True)) for x in (first, second))
    with np.errstate(invalid="ignore"):
        return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))
