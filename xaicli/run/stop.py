"""Stopping early: signals, --max-time and the end of a Slurm allocation become a wish, granted where nothing is lost.

Work that goes block by block asks `STOP.check()` between blocks. Python's signal handlers run between two bytecodes
of the main thread, so an exception raised in one could hit a half-written file; hence three ways to be:

* outside any block of this module (reading data, loading a model): a wish ends the work at once;
* `with STOP.shielded()` (writing): a wish waits for the next `check`;
* `with STOP.working()` (computing one block): a wish waits too, but when `--grace` is over the block is given up.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Literal, NoReturn

from xaicli.errors import StoppedError, UsageError

PUBLISHING_SECONDS = 30.0  # kept free before the end of an allocation, for what has to be written
DEFAULT_GRACE = 20.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1"}

Phase = Literal["free", "shielded", "working"]


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `90`, `90s`, `55m` or `1h30m`. Raises UsageError for anything else."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise UsageError(f"'{text}' is not a duration; use seconds, or 90s, 55m, 1h30m.")
    return sum(float(amount) * _UNITS[unit] for amount, unit in re.findall(r"([\d.]+)([smhd])", text))


class Stop:
    """The wish of this process to stop, if there is one. Signals belong to a process, so there is one: `STOP`."""

    def __init__(self) -> None:
        self._phase: Phase = "free"
        self._reason: str | None = None
        self._grace = DEFAULT_GRACE
        self._kills = 0

    @contextmanager
    def listening(
        self, max_time: float | None = None, grace: float = DEFAULT_GRACE, environment: Mapping[str, str] = os.environ
    ) -> Iterator[None]:
        """Take signals, and set the clock, for one command; within another one, nothing changes.

        max_time, grace: seconds. Raises StoppedError wherever the wish can be granted.
        """
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) == self._ask:
            yield
            return
        self._phase, self._reason, self._grace, self._kills = "free", None, grace, 0
        handlers = {number: signal.signal(number, self._ask) for number in _NAMES}
        handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._ring)
        left = [seconds for seconds in (max_time, _allocation(grace, environment)) if seconds is not None]
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(min(left), 1e-3))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._phase, self._reason = "free", None
            for number, handler in handlers.items():
                signal.signal(number, handler)

    @property
    def wanted(self) -> bool:
        """Whether the work should stop where that loses nothing."""
        return self._reason is not None

    def check(self) -> None:
        """Raise StoppedError if the work should stop; to be called where nothing is lost by it."""
        if self._reason is not None:
            raise self.error("what is finished is kept")

    def error(self, state: str) -> StoppedError:
        """The error that ends the command; `state`: what is saved and what is left, in a few words."""
        return StoppedError(f"stopped {self._reason or 'early'}, {state}; run the same command again to go on.")

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Within, a wish waits for `check`."""
        with self._being("shielded"):
            yield

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within, a wish waits for `check`, and raises StoppedError when the time of grace is over."""
        with self._being("working"):
            yield

    @contextmanager
    def _being(self, phase: Phase) -> Iterator[None]:
        before, self._phase = self._phase, phase
        try:
            yield
        finally:
            self._phase = before

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGUSR1:
            self._kills += 1
            if self._kills > 1:
                _leave(number)
        self._wish(f"by {_NAMES[signal.Signals(number)]}")

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._reason is None:
            self._wish("because the time is up")
        elif self._phase == "working":
            self._phase = "shielded"  # while the exception is on its way
            self.check()

    def _wish(self, reason: str) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        signal.setitimer(signal.ITIMER_REAL, max(self._grace, 1e-3))
        if self._phase == "free":
            self._phase = "shielded"
            self.check()


def _allocation(grace: float, environment: Mapping[str, str]) -> float | None:
    """Seconds until the work should stop because the Slurm allocation ends, if that is known."""
    end = environment.get("SLURM_JOB_END_TIME", "")
    return float(end) - time.time() - grace - PUBLISHING_SECONDS if end.isdecimal() else None


def _leave(number: int) -> NoReturn:
    """At once: files being written stay temporary ones, which nobody takes for results."""
    sys.stderr.write("\nxaicli: interrupted.\n")
    sys.stderr.flush()
    os._exit(128 + number)


STOP = Stop()
