"""Do the images fool other models as well? What each judge predicts, row by row, and how often it was fooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from xaicli.files.columns import Column, Status
from xaicli.files.store import Store
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.interval import clopper_pearson

CLEAN, ATTACKED = "transfer_clean_prediction", "transfer_prediction"
ATTRIBUTE = "transfer_to"


def transfer_columns(judges: int) -> tuple[Column, ...]:
    """The columns of so many judges: the class each predicts on the clean and on the attacked image."""
    return tuple(Column(name, "<u2", (judges,)) for name in (CLEAN, ATTACKED)) if judges else ()


def judged_by(judges: Sequence[Calls], clean: torch.Tensor, attacked: torch.Tensor) -> Columns:
    """Those columns for images [n, C, H, W]."""
    if not judges:
        return {}

    def predictions(images: torch.Tensor) -> Any:
        found = [judge.logits(images.to(judge.dtype)).argmax(1).cpu().numpy() for judge in judges]
        return np.stack(found, 1).astype(np.uint16)

    return {CLEAN: predictions(clean), ATTACKED: predictions(attacked)}


def transfer_figures(store: Store) -> dict[str, Any]:
    """By each judge's id: its clean and robust accuracy, and the success rate with its interval.

    The rate is over the rows that attacked model and judge both get right on the clean image: of the others the attack
    has changed none, or the judge has nothing to lose.
    """
    ids = store.attributes.get(ATTRIBUTE, [])
    if not ids:
        return {}
    ok = store.column("status") == Status.OK
    label, attacked = store.column("label")[ok], store.column("clean_prediction")[ok] == store.column("label")[ok]
    found = {}
    for number, id in enumerate(ids):
        clean = store.column(CLEAN)[ok][:, number] == label
        right = clean & (store.column(ATTACKED)[ok][:, number] == label)
        both = clean & attacked
        fooled = both & ~right
        low, high = clopper_pearson(int(fooled.sum()), int(both.sum()))
        found[id] = {
            "clean_accuracy": float(clean.mean()) if len(label) else None,
            "robust_accuracy": float(right.mean()) if len(label) else None,
            "success_rate": float(fooled.sum() / both.sum()) if both.any() else None,
            "interval": None if low is None else [low, high],
            "n": int(both.sum()),
        }
    return {"transfer": found}
