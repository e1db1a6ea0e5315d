"""What differs between two artifacts of one kind: their jobs, and the values of every column or tensor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xaicli.errors import InputError
from xaicli.files.artifact import identify
from xaicli.files.checkpoint import read_checkpoint
from xaicli.files.store import open_store

_BATCH = 256


def compare(first: Path, second: Path, tolerance: float) -> list[dict[str, Any]]:
    """One entry per part that differs by more than `tolerance`: its name, how many values, the largest difference."""
    kinds = identify(first), identify(second)
    if kinds[0].kind != kinds[1].kind:
        raise InputError(
            f"'{first}' is of the kind {kinds[0].kind} and '{second}' {kinds[1].kind}; compare files of one kind."
        )
    found = _compare_jobs(kinds[0].job, kinds[1].job)
    if kinds[0].kind == "checkpoint":
        return found + _compare_arrays(read_checkpoint(first).tensors, read_checkpoint(second).tensors, tolerance)
    with open_store(first) as a, open_store(second) as b:
        if len(a) != len(b):
            return [*found, {"part": "rows", "first": len(a), "second": len(b)}]
        return found + _merge(
            _compare_arrays(a.read(slice(start, start + _BATCH)), b.read(slice(start, start + _BATCH)), tolerance)
            for start in range(0, len(a), _BATCH)
        )


def _compare_jobs(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    names = sorted({*first, *second})
    return [
        {"part": f"job.{name}", "first": first.get(name), "second": second.get(name)}
        for name in names
        if first.get(name) != second.get(name)
    ]


def _compare_arrays(first: dict[str, Any], second: dict[str, Any], tolerance: float) -> list[dict[str, Any]]:
    found = []
    for name in sorted({*first, *second} - {"digest"}):
        if name not in first or name not in second:
            found.append({"part": name, "first": name in first, "second": name in second})
        elif first[name].shape != second[name].shape:
            found.append({"part": name, "first": list(first[name].shape), "second": list(second[name].shape)})
        elif difference := _difference(first[name], second[name], tolerance):
            found.append({"part": name, **difference})
    return found


def _difference(first: Any, second: Any, tolerance: float) -> dict[str, Any] | None:
    if first.dtype.kind not in "fiub" or first.dtype.kind != second.dtype.kind:
        different = int(np.sum(first != second))
        return {"values": different, "largest": None} if different else None
    a, b = first.astype(np.float64), second.astype(np.float64)
    both_nan = np.isnan(a) & np.isnan(b)
    with np.errstate(invalid="ignore"):  # inf - inf
        gap = np.where(both_nan | (a == b), 0.0, np.abs(a - b))
    gap = np.where(np.isnan(gap), np.inf, gap)
    different = int(np.sum(gap > tolerance))
    return {"values": different, "largest": float(gap.max())} if different else None


def _merge(batches: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Add up what batches of rows found for the same part."""
    merged: dict[str, dict[str, Any]] = {}
    for entry in (entry for batch in batches for entry in batch):
        known = merged.get(entry["part"])
        if known is None or "values" not in entry:
            merged[entry["part"]] = entry
        else:
            known["values"] += entry["values"]
            known["largest"] = max(
                (gap for gap in (known["largest"], entry["largest"]) if gap is not None), default=None
            )
    return list(merged.values())
