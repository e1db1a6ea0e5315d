"""Standard output belongs to records: whatever libraries print goes to standard error instead.

Libraries below us print from Python and from C, so ownership is taken of the descriptor: 1 is pointed at 2, and only
this module keeps a copy of the real one.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from xaicli.errors import UsageError
from xaicli.files.record import Record, plain_record, to_line

FORMATS = ("auto", "table", "json")


class ReaderGoneError(Exception):
    """Whoever read our output has closed it; not an OSError, for which typer would end the process with code 1."""


class Output:
    """The one writer of standard output: records are lines of JSON, or on a terminal tables shown at the end."""

    def __init__(self) -> None:
        self.format = "auto"
        self.color = True
        self.verbose = False
        self._stream: TextIO = sys.stdout
        self._held: list[Record] = []
        self._collected: list[Record] | None = None

    def own(self) -> None:
        """Take the descriptor from everybody else."""
        _open_closed_descriptors()
        sys.stdout.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
        self.write_to(io.BufferedWriter(_Saved(saved)))

    def write_to(self, file: BinaryIO) -> None:
        """Records, tables and artifacts go to this file; so does `sys.stdout` (help) until a command starts."""
        self._stream = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="\n")
        sys.stdout = self._stream

    def start(self, format: str) -> None:
        """Forget the command before; `format` holds until the command line is understood."""
        self.format, self.verbose = format, False
        self._held.clear()

    def close_to_libraries(self) -> None:
        """From now on Python's own prints go to standard error too."""
        sys.stdout = sys.stderr

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking at standard output."""
        return self._stream.isatty()

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
        self._stream.flush()
        with path.open("rb") as file:
            shutil.copyfileobj(file, self._stream.buffer, 1 << 20)
        self._stream.flush()

    def refuse_terminal(self) -> None:
        """`-o -` writes bytes, which no person wants on a terminal."""
        if self.is_terminal:
            raise UsageError("'-o -' writes a whole file to standard output, which is a terminal; redirect it.")

    def error(self, code: int, message: str) -> None:
        """One sentence on standard error, and with --format json a record there too."""
        with suppress(OSError):  # nobody is left to hear it
            print(f"xaicli: {message}", file=sys.stderr)
            if self.format == "json":
                print(to_line(plain_record("error", code=code, message=message)), file=sys.stderr)
            sys.stderr.flush()

    def abandon(self) -> None:
        """Standard output takes nothing more: what is still buffered goes nowhere, not even at exit."""
        self._held.clear()
        with suppress(OSError):  # a stream of a test has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


class _Saved(io.RawIOBase):
    """The real standard output."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        try:
            return os.write(self._descriptor, data)
        except BrokenPipeError:
            raise ReaderGoneError from None


def _open_closed_descriptors() -> None:
    """Started with `<&-` or `>&-`: without this, the next file opened would become standard output."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


OUTPUT = Output()


def emit_all(records: Any) -> int:
    """Emit records as they come; the exit code is 3 when rows failed, else 0."""
    failed = 0
    for record in records:
        failed += int(record.get("failed") or 0) if isinstance(record, Mapping) else 0
        OUTPUT.record(record)
    return 3 if failed else 0
