"""What the record of generated images says."""

from __future__ import annotations

from typing import Any

from xaicli.files.columns import Status
from xaicli.files.store import Store


def figures(store: Store) -> dict[str, Any]:
    """The share of images that the model takes for their target, and their mean score."""
    ok = store.column("status") == Status.OK
    if not ok.any():
        return {}
    hit = store.predicted()[ok] == store.column("target")[ok]
    return {"target_accuracy": float(hit.mean()), "score": float(store.column("score")[ok].mean())}
