"""Attributions as a guide: where the image of a class may change, or which units inside the network it drives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
    for rows in _batches(store, "attribution"):
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


def _batches(store: Store, name: str) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """All rows, some at a time, of a column and of what says whose they are."""
    for start in range(0, len(store), BATCH):
        yield store.read(slice(start, start + BATCH), [name, "target", "status"])


def class_experts(store: Store, wanted: Sequence[int], units: int) -> dict[int, npt.NDArray[np.float64]]:
    """Each class's most influential units, [units]: their mean positive influence as a share of all, else 0.

    As many as the influence store names for a row. Rows count for the class that they explain. InputError for a class
    without one, and for a store of another layer.
    """
    if store.shape("influence")[1] != units:
        raise InputError(
            f"'{store.path.name}' holds the influence of {store.shape('influence')[1]} units, but the layer has "
            f"{units}; explain this checkpoint."
        )
    most = store.shape("experts")[1]
    totals = {label: np.zeros(units) for label in wanted}
    for rows in _batches(store, "influence"):
        for label in wanted:
            mine = (rows["target"] == label) & (rows["status"] == Status.OK)
            totals[label] += rows["influence"][mine].astype(np.float64).sum(0)
    found = {}
    for label, mean in totals.items():
        top = np.argsort(-mean, kind="stable")[:most]
        weights = np.zeros(units)
        weights[top] = mean[top].clip(0)  # a class's total, of which only the shares matter
        if not weights.sum() > 0:
            raise InputError(
                f"'{store.path.name}' has no unit of positive influence for class {label}; explain more rows or leave "
                "the class out."
            )
        found[label] = weights / weights.sum()
    return found
