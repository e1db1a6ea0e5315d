"""Standard output belongs to records: whatever libraries print goes to standard error instead.

Libraries below us print from Python and from C, so ownership is taken of the descriptor: 1 is pointed at 2, and only
this module keeps a copy of the real one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from xaicli.errors import UsageError
from xaicli.files.record import Record, plain_record, to_line

FORMATS = ("auto", "table", "json")


class Output:
    """The one writer of standard output: records are lines of JSON, or on a terminal tables shown at the end."""

    def __init__(self) -> None:
        self.format = "auto"
        self.color = True
        self._descriptor = 1
        self._stream: TextIO = sys.stdout
        self._held: list[Record] = []
        self._collected: list[Record] | None = None

    def own(self) -> None:
        """Take the descriptor from everybody else; until a command starts, `sys.stdout` still reaches it (help)."""
        sys.stdout.flush()
        self._descriptor = os.dup(1)
        os.dup2(2, 1)
        self._stream = open(self._descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = self._stream

    def close_to_libraries(self) -> None:
        """From now on Python's own prints go to standard error too."""
        sys.stdout = sys.stderr

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking at standard output."""
        return os.isatty(self._descriptor)

    @property
    def tabular(self) -> bool:
        """Whether records are shown as tables."""
        return self.format == "table" or (self.format == "auto" and self.is_terminal)

    def record(self, record: Record) -> None:
        """Emit one record now, or hold it for the table."""
        if self._collected is not None:
            self._collected.append(record)
        elif self.tabular:
            self._held.append(record)
        else:
            self._stream.write(to_line(record) + "\n")
            self._stream.flush()

    @contextmanager
    def diverted(self) -> Iterator[list[Record]]:
        """Collect the records of commands that run inside another one instead of emitting them."""
        found: list[Record] = []
        before = self.format, self.color, self._collected
        self._collected = found
        try:
            yield found
        finally:
            self.format, self.color, self._collected = before

    def page(self, text: str) -> None:
        """Emit plain text for a person."""
        self._stream.write(text.rstrip() + "\n")

    def finish(self) -> None:
        """Show what was held, and flush."""
        if self._held:
            from xaicli.cli.tables import show_records

            show_records(self._held, self._stream, self.color and self.is_terminal)
            self._held.clear()
        self._stream.flush()

    def artifact(self, path: Path) -> None:
        """Write one whole artifact, byte by byte."""
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._descriptor, view) :]

    def refuse_terminal(self) -> None:
        """`-o -` writes bytes, which no person wants on a terminal."""
        if self.is_terminal:
            raise UsageError("'-o -' writes a whole file to standard output, which is a terminal; redirect it.")

    def error(self, code: int, message: str) -> None:
        """One sentence on standard error, and with --format json a record there too."""
        print(f"xaicli: {message}", file=sys.stderr)
        if self.format == "json":
            print(to_line(plain_record("error", code=code, message=message)), file=sys.stderr)
        sys.stderr.flush()

    def abandon(self) -> None:
        """The reader is gone: nothing more is written, not even at exit."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._descriptor)
        self._held.clear()


OUTPUT = Output()


def emit_all(records: Any) -> int:
    """Emit records as they come; the exit code is 3 when rows failed, else 0."""
    failed = 0
    for record in records:
        failed += int(record.get("failed") or 0) if isinstance(record, Mapping) else 0
        OUTPUT.record(record)
    return 3 if failed else 0
