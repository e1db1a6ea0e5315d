"""What the record of an attack's images says: fractions over the rows that are ok, with intervals, and by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.attack.transfer import transfer_figures
from xaicli.attack.verdicts import stored_verdicts
from xaicli.files.columns import Status
from xaicli.files.store import Store
from xaicli.run.interval import clopper_pearson

Flags = npt.NDArray[np.bool_]


def figures(store: Store) -> dict[str, Any]:
    """Clean and robust accuracy and the success rate; with their intervals, by class, by radius and by other models.

    Rows that were wrong on their clean image are errors, but not successes of the attack.
    """
    ok = store.column("status") == Status.OK
    if not ok.any():
        return {}
    label = store.column("label")[ok]
    clean = store.column("clean_prediction")[ok] == label
    right = clean & (store.predicted()[ok] == label)
    success = store.column("success")[ok]
    return {
        "clean_accuracy": _share(clean),
        "robust_accuracy": _share(right),
        "success_rate": _share(success[clean]),
        "intervals": {
            "clean_accuracy": _interval(clean),
            "robust_accuracy": _interval(right),
            "success_rate": _interval(success[clean]),
        },
        "per_class": {
            name: {
                "n": int(mine.sum()),
                "clean_accuracy": _share(clean[mine]),
                "robust_accuracy": _share(right[mine]),
                "interval": _interval(right[mine]),
            }
            for number, name in enumerate(store.attributes["classes"])
            if (mine := label == number).any()
        },
        **_stages(store, ok),
        **_security_curve(store, ok, clean),
        **transfer_figures(store),
        **stored_verdicts(store),
    }


def _stages(store: Store, ok: Flags) -> dict[str, Any]:
    """Of a series its protocol, and how many rows each of its attacks has broken."""
    names = store.attributes.get("stages", [])
    if not names:
        return {}
    stage, protocol = store.column("stage")[ok], store.attributes["protocol"]
    return {
        "protocol": {key: protocol[key] for key in ("name", "official", "hash")},
        "broken_by": {name: int((stage == number).sum()) for number, name in enumerate(names, start=1)},
    }


def _security_curve(store: Store, ok: Flags, clean: Flags) -> dict[str, Any]:
    """Robust accuracy at each radius that was asked for, where there are several."""
    radii = store.attributes.get("radii", [])
    if len(radii) < 2:
        return {}
    broken_at = store.column("broken_at")[ok]
    held = {radius: clean & ~(broken_at <= np.float32(radius)) for radius in radii}
    curve = [{"eps": eps, "robust_accuracy": _share(rows), "interval": _interval(rows)} for eps, rows in held.items()]
    return {"security_curve": curve}


def _share(hits: Flags) -> float | None:
    return float(hits.mean()) if len(hits) else None


def _interval(hits: Flags) -> list[float | None] | None:
    low, high = clopper_pearson(int(hits.sum()), len(hits))
    return None if low is None else [low, high]
