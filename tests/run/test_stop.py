"""The wish to stop: when it is granted, when it waits, and when a block is given up."""

from __future__ import annotations

import os
import signal
import time

import pytest

from xaicli.errors import StoppedError, UsageError
from xaicli.run.stop import STOP, parse_duration


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # the handler runs between bytecodes


def wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("55m", 3300), ("1h30m", 5400), ("2d", 172800), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5x", "-3", "1:30", "5 m", "nan", "1h-2m"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGUSR1, "SIGUSR1")]
)
def test_free_work_ends_at_once(number: int, name: str) -> None:
    with STOP.listening(), pytest.raises(StoppedError, match=f"stopped by {name}"):
        send(number)
        wait(1)


def test_shielded_work_waits_for_the_check() -> None:
    with STOP.listening(grace=0.01), STOP.shielded():
        send(signal.SIGTERM)
        wait(0.1)  # longer than the grace: writing is never given up
        assert STOP.wanted
        with pytest.raises(StoppedError, match="SIGTERM, what is finished is kept"):
            STOP.check()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_block_may_finish_within_the_grace() -> None:
    with STOP.listening(grace=5), STOP.shielded():
        with STOP.working():
            send(signal.SIGUSR1)
            wait(0.05)
        assert STOP.wanted


def test_block_is_given_up_after_the_grace() -> None:
    with STOP.listening(grace=0.05), STOP.shielded():
        started = time.monotonic()
        with pytest.raises(StoppedError), STOP.working():
            send(signal.SIGUSR1)
            wait(10)
        assert 0.04 < time.monotonic() - started < 5


def test_time_that_is_up_is_a_wish_too() -> None:
    with STOP.listening(max_time=0.05), STOP.shielded():
        wait(0.1)
        with pytest.raises(StoppedError, match="because the time is up"):
            STOP.check()


def test_end_of_the_allocation_leaves_time_to_write() -> None:
    end = {"SLURM_JOB_END_TIME": str(int(time.time()) + 45)}  # 20 s of grace and 30 s of writing are more than that
    with STOP.listening(environment=end), STOP.shielded():
        wait(0.05)
        assert STOP.wanted
    with STOP.listening(environment={"SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}), STOP.shielded():
        wait(0.05)
        assert not STOP.wanted


def test_second_sigusr1_changes_nothing() -> None:
    with STOP.listening(), STOP.shielded():
        send(signal.SIGUSR1)
        send(signal.SIGUSR1)
        send(signal.SIGTERM)  # the first that asks to end
        assert STOP.wanted


def test_nothing_is_left_behind() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM)]
    with STOP.listening(max_time=100):
        pass
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM)]
    assert (after, signal.getitimer(signal.ITIMER_REAL)) == (before, (0.0, 0.0))
