"""What a file is, read from its structure alone: kind, id, job and parents of any checkpoint or store."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaicli.errors import InputError, MissingError, RefusedError
from xaicli.files.signature import signature

if TYPE_CHECKING:
    from xaicli.files.store import Store


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
        parents = self.job.get("parents")
        return parents if isinstance(parents, dict) else {}

    @property
    def stem(self) -> str:
        """The file's name without its last suffix, from which later names are made."""
        return self.path.stem


def of_store(store: Store) -> Artifact:
    """What an open store is."""
    return Artifact(store.path, store.kind, store.id, dict(store.job), store.job_id, store.rows, tuple(store.history))


def identify(path: Path) -> Artifact:
    """Recognise a file by its first bytes and read what it says of itself.

    Raises MissingError when it cannot be read, InputError when it is no artifact or is damaged, RefusedError for
    pickles.
    """
    size = _size(path)
    kind = signature(path)
    if kind == "store":
        from xaicli.files.store import open_store

        with open_store(path) as store:
            return of_store(store)
    if kind == "checkpoint":
        from xaicli.files.checkpoint import read_meta

        meta, id = read_meta(path)
        return Artifact(path, "checkpoint", id, dict(meta.job), meta.job_id, 0, tuple(meta.lineage))
    if kind == "pickle":
        raise RefusedError(
            f"'{path}' is a pickle, which can run code when it is read; "
            "`xaicli import` turns its weights into a checkpoint."
        )
    if size == 0:
        raise InputError(f"'{path}' is empty; run the command that made it again.")
    raise InputError(f"'{path}' is neither a checkpoint (.safetensors) nor a store (.h5) of xaicli.")


def _size(path: Path) -> int:
    """The file's bytes; a folder, a pipe or a device is refused, because artifacts are read more than once."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise MissingError(f"'{path}' does not exist; check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise MissingError(f"'{path}' cannot be read: {getattr(error, 'strerror', error)}; check the path.") from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"'{path}' is a folder; name the file inside it.")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"'{path}' is not a regular file; save it as one, or pipe it into '-'.")
    return found.st_size
