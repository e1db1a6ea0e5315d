"""Records: the JSON lines on standard output that tell the next command what was made, from what, and where it lies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

SCHEMA = 1
ARTIFACT_KINDS = ("checkpoint", "images", "attributions", "scores", "features", "influence", "representer", "report")
MAP_KINDS = ("attributions", "influence")
"""Stores with maps of the explained images in `attribution`."""

Record = dict[str, Any]


def artifact_record(
    *,
    kind: str,
    path: str,
    id: str,
    verb: str,
    method: str,
    options: Mapping[str, Any],
    rows: int,
    failed: int,
    parents: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> Record:
    """The record of one artifact (SPEC 3)."""
    return {
        "xaicli": SCHEMA,
        "kind": kind,
        "path": path,
        "id": id,
        "verb": verb,
        "method": method,
        "options": dict(options),
        "rows": rows,
        "failed": failed,
        "parents": dict(parents),
        "metrics": dict(metrics),
    }


def plain_record(kind: str, **fields: Any) -> Record:
    """A record of another kind: `metric`, `method`, `info`, `check`, `difference` or `error`."""
    return {"xaicli": SCHEMA, "kind": kind, **fields}


def to_line(record: Mapping[str, Any]) -> str:
    """One line of JSON; numbers that are not finite become null, so that every JSON reader takes it."""
    plain = finite(record)
    line = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        line.encode()
    except UnicodeEncodeError:  # a file name that is no UTF-8 survives as an escape
        line = json.dumps(plain, allow_nan=False, separators=(",", ":"))
    return line


def finite(value: Any) -> Any:
    """The same structure with NaN and infinities replaced by None and numpy scalars by Python's."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
