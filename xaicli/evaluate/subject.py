"""What an evaluate command works on, once its sources are understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaicli.files.artifact import Artifact
from xaicli.files.sources import Sources
from xaicli.run.cases import Case
from xaicli.run.inputs import Inputs
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
    judge: Path | None = None
    unknown: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """One checkpoint with the images it is judged on; `of` lists the sources whose worst case this one is.

    judge: another checkpoint, which judges generated images too.
    """

    method: str
    options: Mapping[str, Any]
    case: Case
    inputs: Inputs
    of: tuple[int, ...] = ()
    judge: Artifact | None = None

    @property
    def document(self) -> dict[str, Any]:
        """What the scores store says of this source: no path."""
        images = self.case.images
        parents = {"checkpoint": {"id": self.case.checkpoint.id}}
        if images is not None and not self.of:
            parents["images"] = {"id": images.id}
        if self.judge is not None:
            parents["judge"] = {"id": self.judge.id}
        return {
            "id": images.id if images is not None and not self.of else None,
            "method": self.method,
            "options": dict(self.options),
            "checkpoint": self.case.checkpoint.id,
            "parents": parents,
        }

    @property
    def parents(self) -> dict[str, Any]:
        """The parents as records show them."""
        whole = self.case.record_parents
        if self.judge is not None:
            whole["judge"] = {"id": self.judge.id, "path": str(self.judge.path)}
        return {role: whole[role] for role in self.document["parents"]} | {"data": whole["data"]}


@dataclass(frozen=True)
class Judged:
    """One scores store to be made, and the parents of each of its sources as records show them."""

    group: Group
    parents: Sequence[Mapping[str, Any]]
