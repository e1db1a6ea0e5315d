"""What the record of an attack's images says: fractions over the rows that are ok, with intervals, and by class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.attack.judging import ATTACKED, ATTACKED_CLEAN, REFUSED, REFUSED_CLEAN
from xaicli.attack.transfer import transfer_figures
from xaicli.attack.verdicts import stored_verdicts
from xaicli.files.columns import Status
from xaicli.files.store import Store
from xaicli.run.interval import clopper_pearson

Flags = npt.NDArray[np.bool_]


def figures(store: Store) -> dict[str, Any]:
    """Clean and robust accuracy and the success rate; with their intervals, by class, by radius and by other models.

    Rows that were wrong on their clean image are errors, but not successes of the attack. These figures count what is
    refused like the rest; those of refusals, and of the draws that were attacked, stand beside them.
    """
    ok = store.column("status") == Status.OK
    if not ok.any():
        return {}
    label = store.column("label")[ok]
    clean = store.column("clean_prediction")[ok] == label
    right = clean & (store.predicted()[ok] == label)
    success = store.column("success")[ok]
    counted = {"clean_accuracy": clean, "robust_accuracy": right, "success_rate": success[clean]}
    counted |= _refusals(store, ok, clean, success)
    return {
        **{name: _share(hits) for name, hits in counted.items()},
        "intervals": {name: _interval(hits) for name, hits in counted.items()},
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
        **_attacked_draws(store, ok, label),
        **_stages(store, ok),
        **_security_curve(store, ok, clean),
        **transfer_figures(store),
        **stored_verdicts(store),
    }


def _refusals(store: Store, ok: Flags, clean: Flags, success: Flags) -> dict[str, Flags]:
    """Of a checkpoint that refuses: how many clean and attacked images are, and which attacks get past that as well.

    The last is over the rows that are right and accepted on their clean image: a success there is wrong and accepted.
    """
    if REFUSED not in store.columns:
        return {}
    before, after = (store.column(name)[ok] == 1 for name in (REFUSED_CLEAN, REFUSED))
    return {
        "clean_refusal_rate": before,
        "attacked_refusal_rate": after,
        "accepted_success_rate": (success & ~after)[clean & ~before],
    }


def _attacked_draws(store: Store, ok: Flags, label: Flags) -> dict[str, Any]:
    """What the networks say that the attack has seen, where others have judged: these are the easier ones to break."""
    if ATTACKED not in store.columns:
        return {}
    clean, attacked = (store.column(name)[ok] == label for name in (ATTACKED_CLEAN, ATTACKED))
    return {"attacked_draws": {"clean_accuracy": _share(clean), "robust_accuracy": _share(clean & attacked)}}


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
