"""How data sets are reached: where they lie, whether one may be fetched, and how many threads read its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xaicli.errors import InputError, MissingError, UsageError

SYSTEM = Path("/usr/share/datasets")
"""Where the packages of a Linux distribution put data sets (Debian: `dataset-fashion-mnist`)."""

MOST_THREADS = 4
"""Threads that read image files unless the user says otherwise; more of them mostly wait for each other."""


@dataclass(frozen=True)
class Access:
    """What the options `--data-root`, `--download` and `--num-workers` say."""

    root: Path | None = None
    download: bool = False
    workers: int | None = None
    """Threads that read image files; None takes one a processor, at most four."""
    hints: tuple[Path, ...] = ()
    """Further roots: where a record said that the data lies. Its digest is compared, so a wrong one does no harm."""

    @property
    def threads(self) -> int:
        """Threads to read with, at least 1; what is read does not depend on them."""
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or min(MOST_THREADS, processors)

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where data sets are looked for, in order: the user's root, a record's, the current folder, the system's."""
        return (*([self.root] if self.root is not None else []), *self.hints, Path(), SYSTEM)


def locate(name: str, folders: Sequence[str], access: Access, holds: Callable[[Path], bool]) -> Path:
    """The first folder below the roots that holds the data set, absolute.

    name: the data set's. folders: the names that its folder may have. holds: whether a folder is the one. A data set
    that is nowhere is fetched first if that was asked for. Raises MissingError that says where it was looked for,
    UsageError for a download without a root, and what `fetch` raises.
    """
    found = _search(access.roots, folders, holds)
    if found is None and access.download:
        from xaicli.data.download import CLASSES, fetch

        if name in CLASSES:
            if access.root is None:
                raise UsageError("--download needs to know where data sets lie; name a folder with --data-root.")
            fetch(name, access.root)
            found = _search([access.root], folders, holds)
    if found is not None:
        return found.resolve()
    places = ", ".join(f"'{root / folder}'" for root in access.roots for folder in folders)
    raise MissingError(f"the data '{name}' is not there; looked for {places}; {_remedy(name, access)}.")


def _search(roots: Sequence[Path], folders: Sequence[str], holds: Callable[[Path], bool]) -> Path | None:
    return next((root / folder for root in roots for folder in folders if holds(root / folder)), None)


def _remedy(name: str, access: Access) -> str:
    from xaicli.data.download import CLASSES

    say = "say with --data-root where data sets lie"
    if name not in CLASSES:
        return f"{say} (this one has to be fetched by hand)" if access.download else say
    return say if access.download else f"{say}, and with --download that it may be fetched"


def read_whole(path: Path, most: int) -> bytes:
    """All bytes of a file. MissingError if it cannot be read, InputError if it has more than `most`."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1) if path.is_file() else b""
    except OSError as error:
        raise MissingError(f"'{path}' cannot be read ({error.strerror}); restore it.") from None
    if len(data) > most:
        raise InputError(f"'{path}' has more than {most} bytes, which no such file has; fetch the data set again.")
    return data
