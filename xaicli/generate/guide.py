"""Attributions as a guide: where the image of a class may change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xaicli.errors import InputError
from xaicli.files.columns import Status
from xaicli.files.store import Store

BATCH = 256


def class_weights(store: Store, wanted: Sequence[int]) -> dict[int, npt.NDArray[np.float32]]:
    """The mean positive attribution of each class, [H, W] scaled to a maximum of 1.

    The maps of rows whose explained class it is are averaged, reduced as the store says. InputError for a class without
    one.
    """
    how = str(store.attributes.get("reduce", "sum"))
    _, _, height, width = store.shape("attribution")
    totals = {label: np.zeros((height, width)) for label in wanted}
    counts = dict.fromkeys(wanted, 0)
    for start in range(0, len(store), BATCH):
        rows = store.read(slice(start, start + BATCH), ["attribution", "target", "status"])
        maps = rows["attribution"].astype(np.float64)
        pixels = np.abs(maps).sum(1) if how == "abs-sum" else maps.sum(1)
        for label in wanted:
            mine = (rows["target"] == label) & (rows["status"] == Status.OK)
            totals[label] += pixels[mine].sum(0)
            counts[label] += int(mine.sum())
    weights = {}
    for label in wanted:
        mean = np.maximum(totals[label] / max(counts[label], 1), 0)
        if not mean.max() > 0:
            raise InputError(
                f"'{store.path.name}' has no positive attribution for class {label}; "
                "explain more rows or leave the class out."
            )
        weights[label] = (mean / mean.max()).astype(np.float32)
    return weights
