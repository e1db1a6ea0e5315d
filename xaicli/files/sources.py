"""SOURCE arguments: artifacts named by path, by records on standard input, or handed over whole through a pipe."""

from __future__ import annotations

import atexit
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from xaicli.errors import InputError, MissingError, UsageError
from xaicli.files.artifact import Artifact, identify
from xaicli.files.record import ARTIFACT_KINDS

_HEAD = 9  # bytes that tell records from files
_HDF5 = b"\x89HDF"
_PICKLES = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))
_SAFETENSORS_HEADER_LIMIT = 100_000_000  # the library's own


@dataclass
class Sources:
    """The artifacts a command was given, and where records said that their parents lie."""

    artifacts: list[Artifact] = field(default_factory=list)
    hints: dict[str, Path] = field(default_factory=dict)  # id or digest -> path

    def of_kind(self, *kinds: str) -> list[Artifact]:
        """The given artifacts of these kinds, in the order given."""
        return [artifact for artifact in self.artifacts if artifact.kind in kinds]

    @property
    def cases(self) -> int:
        """How many pairs of a checkpoint and its rows these are: every checkpoint sees every images store."""
        return max(len(self.of_kind("checkpoint")), 1) * max(len(self.of_kind("images")), 1)


def gather(names: Sequence[str], stdin: BinaryIO | None = None) -> Sources:
    """Read every SOURCE; `-` is standard input (or `stdin`), holding records or one artifact."""
    if names.count("-") > 1:
        raise UsageError("'-' stands for standard input and can be given once.")
    sources = Sources()
    for name in names:
        if name == "-":
            _from_stdin(stdin or sys.stdin.buffer, sources)
        else:
            _add(sources, identify(Path(name)))
    return sources


def _add(sources: Sources, artifact: Artifact) -> None:
    if all(artifact.id != other.id for other in sources.artifacts):
        sources.artifacts.append(artifact)


def _from_stdin(stdin: BinaryIO, sources: Sources) -> None:
    if stdin.isatty():
        raise UsageError("'-' reads records from a pipe, but standard input is a terminal; name a file instead.")
    try:
        head = stdin.read(_HEAD)
        suffix = _suffix(head)
        text = head + stdin.read() if suffix is None else b""
    except OSError as error:
        raise MissingError(f"standard input cannot be read: {error.strerror}; pipe records into '-'.") from None
    if suffix is not None:
        _add(sources, identify(_spool(head, stdin, suffix)))
        return
    if not text.strip():
        raise MissingError("standard input is empty; did the command before this one fail?")
    found = [_from_record(_parse(line, n), n, sources) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not any(found):
        raise MissingError("standard input holds no record of an artifact; did the command before this one fail?")


def _suffix(head: bytes) -> str | None:
    """The name's ending for a whole file; None for text. A safetensors file starts with its header's length and `{`."""
    if head.startswith(_HDF5):
        return ".h5"
    if head.startswith(_PICKLES):
        return ".pt"
    length = int.from_bytes(head[:8], "little")
    return ".safetensors" if head[8:] == b"{" and length <= _SAFETENSORS_HEADER_LIMIT else None


def _spool(head: bytes, stdin: BinaryIO, suffix: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="xaicli-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / f"stdin{suffix}"
    with path.open("wb") as file:
        file.write(head)
        shutil.copyfileobj(stdin, file, 1 << 20)
    return path


def _parse(line: bytes, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or "xaicli" not in record or "kind" not in record:
        raise InputError(
            f"line {number} of standard input is not an xaicli record; pipe only xaicli commands into '-'."
        )
    return record


def _from_record(record: dict[str, Any], number: int, sources: Sources) -> bool:
    """Take in one record; whether it named an artifact. Other kinds are for other readers, but their hints count."""
    sources.hints.update(_hints(record.get("parents")))
    kind, path = record["kind"], record.get("path")
    if kind not in ARTIFACT_KINDS or kind == "report":
        return False
    if not isinstance(path, str) or not path or not isinstance(record.get("id"), str):
        raise InputError(
            f"line {number} of standard input is a record without path and id; pipe only xaicli commands into '-'."
        )
    artifact = identify(Path(path))
    if artifact.id != record["id"]:
        raise InputError(
            f"'{path}' changed since its record was written: the record says {record['id'][:12]} and the file is "
            f"{artifact.id[:12]}; run the command that made it again."
        )
    sources.hints[artifact.id] = artifact.path
    _add(sources, artifact)
    return True


def _hints(parents: Any) -> dict[str, Path]:
    """Where a record's parents lie, by id (data: by digest)."""
    hints = {}
    for parent in parents.values() if isinstance(parents, dict) else ():
        for entry in parent if isinstance(parent, list) else [parent]:
            if isinstance(entry, dict) and isinstance(entry.get("path"), str):
                hints[str(entry.get("id") or entry.get("digest"))] = Path(entry["path"])
    return hints
