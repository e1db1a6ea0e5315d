"""Progress for a log: one plain line in 30 seconds, nothing for a short run."""

from __future__ import annotations

import io
import sys
import time

import pytest

from xaicli.run import progress
from xaicli.run.progress import Progress, say, warn


def test_one_line_in_thirty_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("explain m", 100) as bar:
        for step in range(10):
            now[0] += 9
            bar.advance(10, f"explain m, step {step}")
    assert capsys.readouterr().err.splitlines() == [
        "explain m, step 3: 40/100 rows after 36 s",
        "explain m, step 7: 80/100 rows after 72 s",
    ]


def test_quiet_keeps_warnings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Progress, "quiet", True)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    with Progress("train", 1, unit="epochs") as bar:
        bar.advance()
    say("hello")
    warn("careful")
    assert capsys.readouterr().err == "warning: careful\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_within_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("outer", 2) as outer:
        with Progress("inner", 2) as inner:
            before = len(sys.stderr.getvalue())
            inner.advance(2)
            time.sleep(0.25)  # bars are drawn ten times a second
            meanwhile = sys.stderr.getvalue()[before:]
        before = len(sys.stderr.getvalue())
        outer.advance(2)
        time.sleep(0.25)
        after = sys.stderr.getvalue()[before:]
    assert "inner" in meanwhile and "outer" not in meanwhile
    assert "outer" in after and "inner" not in after
