"""Progress on standard error: a bar on a terminal, else one plain line every 30 seconds."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any, ClassVar

PLAIN_SECONDS = 30.0


class Progress:
    """Counts work done. `quiet` shows nothing; `text` can change while it runs (an epoch's figures, say)."""

    quiet = False
    color = True
    _shown: ClassVar[Any] = None  # the bar on the terminal

    def __init__(self, text: str, total: int, unit: str = "rows") -> None:
        self.text, self.total, self.unit = text, total, unit
        self.done = 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._outer: Any = None

    def __enter__(self) -> Progress:
        if not Progress.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=Console(stderr=True, no_color=not Progress.color), transient=True)
            self._task = self._bar.add_task(self.text, total=self.total)
            self._outer, Progress._shown = Progress._shown, self._bar
            if self._outer is not None:  # a bar within another takes its place meanwhile
                self._outer.stop()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            Progress._shown = self._outer
            if self._outer is not None:
                self._outer.start()

    def advance(self, amount: int = 1, text: str | None = None) -> None:
        """Record finished work and, if given, a new text."""
        self.done += amount
        self.text = text or self.text
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=self.text)
        elif not Progress.quiet and time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            seconds = self._last - self._start
            print(
                f"{self.text}: {self.done}/{self.total} {self.unit} after {seconds:.0f} s", file=sys.stderr, flush=True
            )


def say(message: str) -> None:
    """One line for the person watching, on standard error."""
    if not Progress.quiet:
        print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """One line that a person should read even with --quiet."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
