"""Progress for a log: one plain line in 30 seconds, nothing for a short run."""

from __future__ import annotations

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
