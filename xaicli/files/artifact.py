"""What a file is, read from its structure alone: kind, id, job and parents of any checkpoint or store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xaicli.errors import InputError, MissingError, RefusedError
from xaicli.files.signature import signature


@dataclass(frozen=True)
class Artifact:
    """One artifact on disk. `job` is the document it was made from; `parents` in it hold ids, never paths."""

    path: Path
    kind: str
    id: str
    job: dict[str, Any] = field(repr=False)
    job_id: str = field(repr=False)
    rows: int = 0
    history: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @property
    def parents(self) -> dict[str, Any]:
        """Role to id (checkpoint, images, attributions) or to a description (data)."""
        parents: dict[str, Any] = self.job.get("parents", {})
        return parents

    @property
    def stem(self) -> str:
        """The file's name without its last suffix, from which later names are made."""
        return self.path.stem


def identify(path: Path) -> Artifact:
    """Recognise a file by its first bytes and read what it says of itself.

    Raises MissingError when it cannot be read, InputError when it is no artifact or is damaged, RefusedError for
    pickles.
    """
    if not path.exists():
        raise MissingError(f"'{path}' does not exist; check the path.")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; name the file inside it.")
    kind = signature(path)
    if kind == "store":
        from xaicli.files.store import open_store

        with open_store(path) as store:
            history = tuple(store.history)
            return Artifact(path, store.kind, store.id, dict(store.job), store.job_id, store.rows, history)
    if kind == "checkpoint":
        from xaicli.files.checkpoint import read_meta

        meta, id = read_meta(path)
        return Artifact(path, "checkpoint", id, dict(meta.job), meta.job_id, 0, tuple(meta.lineage))
    if kind == "pickle":
        raise RefusedError(
            f"'{path}' is a pickle, which can run code when it is read; "
            "`xaicli import` turns its weights into a checkpoint."
        )
    if path.stat().st_size == 0:
        raise InputError(f"'{path}' is empty; run the command that made it again.")
    raise InputError(f"'{path}' is neither a checkpoint (.safetensors) nor a store (.h5) of xaicli.")
