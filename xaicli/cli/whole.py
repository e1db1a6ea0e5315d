"""`-o -`: exactly one whole artifact on standard output, made in a temporary folder first."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from xaicli.cli.output import OUTPUT, emit_all
from xaicli.errors import StoppedError, UsageError
from xaicli.files.record import Record
from xaicli.run.settings import Settings
from xaicli.run.stop import STOP


def produce(settings: Settings, results: int, extension: str, work: Callable[[Settings], Iterable[Record]]) -> int:
    """Run the work and emit its records, or with `-o -` its one artifact instead. Returns the exit code."""
    if settings.output != "-":
        return emit_all(work(settings))
    OUTPUT.refuse_terminal()
    if results != 1:
        raise UsageError(f"'-o -' writes one artifact, but {results} would result; name a folder with -o DIR/.")
    if not settings.shard.is_whole:
        raise UsageError("'-o -' writes a whole artifact, and --shard makes a part of one; name a file with -o.")
    if settings.dry_run:
        return emit_all(work(replace(settings, output=None)))
    with tempfile.TemporaryDirectory(prefix="xaicli-") as folder:
        path = Path(folder) / f"artifact{extension}"
        try:
            failed = sum(int(record.get("failed") or 0) for record in work(replace(settings, output=str(path))))
        except StoppedError:
            raise STOP.error("and '-o -' keeps no progress (-o FILE does)") from None
        if not path.exists():
            raise UsageError("'-o -' writes an artifact, but this command makes none; leave -o out.")
        OUTPUT.artifact(path)
    return 3 if failed else 0
