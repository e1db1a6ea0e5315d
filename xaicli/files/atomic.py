"""Publishing: a file appears under its name complete and on disk, or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from xaicli.errors import OutputError

_STEM_BYTES = 200  # of the target's name in the temporary one; file systems allow 255 in all


@contextmanager
def publish(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing and reading; it takes the name `path` when the block succeeds.

    Contents and folder are synced to disk, a missing parent folder is created, and an existing target stays as it was
    until the rename replaces it. On any exception (an interrupt included) the temporary file is removed; a killed
    process leaves it behind as `.<name>.<random>.tmp`, for `sweep` to find. Raises OutputError, naming path and
    reason, for every OSError in the block: disk full, no permission, and the like.
    """
    path = Path(path)
    file = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, file = _create(path)
        yield cast(BinaryIO, file)
        file.flush()
        os.fsync(file.fileno())
        temporary.replace(path)
        file.close()  # after the rename, so that the lock is held for as long as the file is temporary
    except BaseException as error:
        if file is not None:
            _discard(file, temporary)
        if isinstance(error, OSError):
            raise _output_error(path, error) from error
        raise
    sync_folder(path.parent)


def sweep(path: Path) -> None:
    """Remove what killed processes left behind while publishing `path`, and nothing of a living one.

    Living ones hold a lock on their temporary file; on a file system without locks nothing is removed.
    """
    with suppress(OSError):  # a folder that is not there, or not ours to tidy
        for temporary in [entry for entry in path.parent.iterdir() if is_temporary(entry, path)]:
            with temporary.open("rb") as file:
                if _lock(file):
                    temporary.unlink()


def is_temporary(entry: Path, path: Path) -> bool:
    """Whether `entry` has a name that publishing `path` gives to its temporary file."""
    return entry.name.startswith(f".{_stem(path)}.") and entry.name.endswith(".tmp")


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable, where the file system knows how."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may be written but not listed; the rename itself has succeeded
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # not supported there
            raise _output_error(folder, error) from error
    finally:
        os.close(descriptor)


def _create(path: Path) -> tuple[Path, io.BufferedRandom]:
    """A new, locked temporary file; once more in the rare case that a sweep took it before it was locked."""
    while True:
        temporary = path.with_name(f".{_stem(path)}.{secrets.token_hex(6)}.tmp")
        file = temporary.open("x+b")
        _lock(file)
        if os.fstat(file.fileno()).st_nlink > 0:
            return temporary, file
        file.close()


def _lock(file: io.BufferedRandom | io.BufferedReader) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: a killed process's temporary files stay until someone removes them
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by a living process, or a file system without locks
        return False
    return True


def _stem(path: Path) -> str:
    return os.fsdecode(os.fsencode(path.name)[:_STEM_BYTES])


def _discard(file: io.BufferedRandom, temporary: Path) -> None:
    with suppress(OSError):
        file.raw.close()  # what is still buffered is not wanted, so nothing more goes to a full disk
    with suppress(OSError):
        temporary.unlink()


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"'{path}' cannot be written ({error.strerror or error}); free space or choose another place, then run again."
    )
