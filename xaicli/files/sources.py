"""SOURCE arguments: artifacts named by path, by records on standard input, or handed over whole through a pipe."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from xaicli.errors import InputError, MissingError, UsageError
from xaicli.files.artifact import Artifact, identify
from xaicli.files.record import ARTIFACT_KINDS


@dataclass
class Sources:
    """The artifacts a command was given, and where records said that their parents lie."""

    artifacts: list[Artifact] = field(default_factory=list)
    hints: dict[str, Path] = field(default_factory=dict)  # id or digest -> path

    def of_kind(self, *kinds: str) -> list[Artifact]:
        """The given artifacts of these kinds, in the order given."""
        return [artifact for artifact in self.artifacts if artifact.kind in kinds]


def gather(names: Sequence[str], stdin: BinaryIO) -> Sources:
    """Read every SOURCE; `-` is standard input, holding records or one artifact."""
    if names.count("-") > 1:
        raise UsageError("'-' stands for standard input and can be given once.")
    sources = Sources()
    for name in names:
        if name == "-":
            _from_stdin(stdin, sources)
        else:
            _add(sources, identify(Path(name)))
    return sources


def _add(sources: Sources, artifact: Artifact) -> None:
    if all(artifact.id != other.id for other in sources.artifacts):
        sources.artifacts.append(artifact)


def _from_stdin(stdin: BinaryIO, sources: Sources) -> None:
    if stdin.isatty():
        raise UsageError("'-' reads records from a pipe, but standard input is a terminal; name a file instead.")
    head = stdin.read(9)
    if not head.strip():
        raise MissingError("standard input is empty; did the command before this one fail?")
    if head.startswith(b"\x89HDF") or (head[8:] == b"{" and b"\0" in head):
        _add(sources, identify(_spool(head, stdin)))
        return
    found = 0
    for number, line in enumerate((head + stdin.read()).splitlines(), 1):
        if line.strip():
            found += _from_record(_parse(line, number), sources)
    if not found:
        raise MissingError("standard input holds no record of an artifact; did the command before this one fail?")


def _spool(head: bytes, stdin: BinaryIO) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="xaicli-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / ("stdin.h5" if head.startswith(b"\x89HDF") else "stdin.safetensors")
    with path.open("wb") as file:
        file.write(head)
        shutil.copyfileobj(stdin, file)
    return path


def _parse(line: bytes, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "xaicli" not in record or "kind" not in record:
        raise InputError(
            f"line {number} of standard input is not an xaicli record; pipe only xaicli commands into '-'."
        )
    return record


def _from_record(record: dict[str, Any], sources: Sources) -> int:
    for parent in dict(record.get("parents") or {}).values():
        for entry in parent if isinstance(parent, list) else [parent]:
            if isinstance(entry, dict) and entry.get("path"):
                sources.hints[str(entry.get("id") or entry.get("digest"))] = Path(str(entry["path"]))
    if record["kind"] not in ARTIFACT_KINDS or record["kind"] == "report" or not record.get("path"):
        return 0
    artifact = identify(Path(str(record["path"])))
    if artifact.id != record.get("id"):
        raise InputError(f"'{artifact.path}' changed since its record was written: its id is now {artifact.id[:12]}.")
    sources.hints[artifact.id] = artifact.path
    _add(sources, artifact)
    return 1
