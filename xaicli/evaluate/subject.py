"""What an evaluate command works on, once its sources are understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaicli.files.sources import Sources
from xaicli.run.produce import Group

EVERY = "all"  # stands for every metric that judges the subject


@dataclass(frozen=True)
class Request:
    """What the user asked of `evaluate`."""

    sources: Sources
    metrics: Sequence[str] = ()
    data: str | None = None
    quantity: str | None = None
    baselines: Sequence[str] = ()
    reduce: str = "auto"
    masks: Path | None = None


@dataclass(frozen=True)
class Judged:
    """One scores store to be made, and the parents of each of its sources as records show them."""

    group: Group
    parents: Sequence[Mapping[str, Any]]
