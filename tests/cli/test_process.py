"""Real processes: descriptors, signals, pipes and terminals, which one process cannot show."""

from __future__ import annotations

import json
import os
import pty
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from xaicli.methods import names

pytestmark = pytest.mark.command

LOUD = """
import os, sys
from torch import nn

print("printed by Python at import")
os.write(1, b"written to the descriptor at import\\n")


class Loud(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))

    def forward(self, x):
        print("printed by Python in the model")
        os.write(1, b"written to the descriptor in the model\\n")
        os.system("echo said by a child")
        return self.net(x)


def make(num_classes, channels):
    import torch

    net = Loud(num_classes, channels)
    net.net(torch.zeros(1, channels, 32, 32))
    return net
"""


def test_the_pipe_of_the_issue(here: Path) -> None:
    """Only JSON lines, exit 0 under pipefail, and nothing typed twice."""
    xaicli = f"{shlex.quote(sys.executable)} -m xaicli"
    line = (
        f"set -o pipefail; {xaicli} train --data digits --arch cnn:width=4 --epochs 1 | "
        f"{xaicli} attack - -a pgd:eps=8/255,steps=2 -n 8 | {xaicli} explain - -m gradcam -m ig:steps=4 | "
        f"{xaicli} evaluate - | cat"
    )
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "XAICLI_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    records = [json.loads(text) for text in done.stdout.splitlines()]
    assert records[0]["kind"] == "scores"
    assert {record["kind"] for record in records[1:]} == {"metric", "concordance"}
    methods = {record["method"] for record in records if record["kind"] == "metric"}
    assert methods == {"gradcam", "integrated-gradients", "random", "edges"}
    assert "Traceback" not in done.stderr


def test_what_libraries_print_does_not_reach_standard_output(spawn: Any, here: Path) -> None:
    (here / "loud.py").write_text(LOUD)
    said = spawn("train", "--data", "digits", "--arch", "./loud.py:make", "--epochs", "1", "-o", "m.safetensors")
    assert said.code == 0, said.err
    assert said.record["kind"] == "checkpoint"
    for words in ("printed by Python", "written to the descriptor", "said by a child"):
        assert words in said.err


def test_a_whole_artifact_goes_through_a_pipe_into_the_next_command(files: Any, here: Path, start: Any) -> None:
    small = ("-n", "4", "--threads", "1")
    with (
        start("attack", files.checkpoint, "-a", "fgsm", *small, "-o", "-") as first,
        start("explain", "-", "-m", "edges", "--parent", files.checkpoint, stdin=first.stdout) as second,
    ):
        first.stdout.close()
        out, err = second.communicate(timeout=120)
    assert (first.returncode, second.returncode) == (0, 0), err
    record = json.loads(out)
    assert (record["kind"], record["rows"], record["path"]) == ("attributions", 4, "stdin.edges.h5")


@pytest.mark.parametrize(
    "command",
    [("methods",), ("--help",)],
)
def test_a_closed_pipe_is_141_without_a_word(command: tuple[str, ...], start: Any) -> None:
    with start(*command) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_whole_artifact_into_a_closed_pipe_is_141_too(files: Any, here: Path, start: Any) -> None:
    command = ("explain", files.checkpoint, "-m", "edges", "-n", "4", "-o", "-")
    with start(*command, env={"TMPDIR": str(here)}) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    assert list(here.iterdir()) == [], "nothing temporary stays behind"


@pytest.mark.parametrize("command", ["methods", "--version"])
def test_a_full_device_as_standard_output_is_74(command: str, start: Any) -> None:
    with open("/dev/full", "wb") as full, start(*command.split(), stdout=full) as process:
        assert process.stderr.read() == (
            b"xaicli: reading or writing failed: No space left on device; mend that, run again.\n"
        )
    assert process.returncode == 74


def test_a_full_disk_is_74_and_harms_nothing(files: Any, here: Path, start: Any, call: Any) -> None:
    command = ("explain", files.checkpoint, "-m", "edges", "-n", "12", "-o", "x.h5")
    call(*command)
    before = (here / "x.h5").read_bytes()
    size = len(before) // 2
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}
    with start(*command, "--seed", "1", "--force", **limit) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (74, b""), err
    assert err.startswith(b"xaicli: 'x.h5")
    assert b"File too large" in err
    assert err.count(b"\n") == 1
    assert (here / "x.h5").read_bytes() == before
    assert [path.name for path in here.iterdir() if not path.name.endswith(".parts")] == ["x.h5"]


def _hear_interrupts() -> None:
    """A shell starts its background jobs deaf to Ctrl-C, and with them the tests and the processes that these start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("times", "code", "sentence"), [(1, 75, "stopped by Ctrl-C, in epoch 1"), (2, 130, "interrupted.")]
)
def test_first_ctrl_c_saves_and_the_second_leaves(times: int, code: int, sentence: str, here: Path, start: Any) -> None:
    # os.system makes the process deaf to Ctrl-C while its child runs
    slow = LOUD.replace('os.system("echo said by a child")', "__import__('time').sleep(1)")
    (here / "loud.py").write_text(slow)
    command = ("train", "--data", "digits", "--arch", "./loud.py:make", "--epochs", "10000", "-o", "m.safetensors")
    with start(*command, preexec_fn=_hear_interrupts) as process:
        assert any(b"in the model" in line for line in process.stderr)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (code, b"")
    assert err.count(b"xaicli: ") == 1 and f"xaicli: {sentence}".encode() in err
    assert b"Traceback" not in err
    left = {path.name for path in here.iterdir() if path.suffix != ".py" and path.name != "__pycache__"}
    assert left == ({"m.resume"} if times == 1 else set())


@pytest.mark.parametrize(("redirection", "code"), [("<&-", 66), (">&-", 66), ("2>&-", 66), ("<&- >&- 2>&-", 66)])
def test_closed_descriptors_at_the_start(redirection: str, code: int, here: Path) -> None:
    line = f"exec {shlex.quote(sys.executable)} -m xaicli store info gone.h5 {redirection}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, env=environment)
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def in_terminal(start: Any, *command: str, env: dict[str, str] | None = None, **streams: str) -> tuple[int, str]:
    """Run with the named streams on a terminal; its exit code and what it showed there."""
    master, slave = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "200", **(env or {})}
    with start(*command, env=environment, **dict.fromkeys(streams, slave)) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 1 << 16)
            except OSError:  # how a terminal says that nobody writes any more
                break
            if not piece:
                break
            shown += piece
        process.communicate(timeout=120)
    os.close(master)
    return process.returncode, shown.decode()


def test_a_terminal_shows_a_table_in_colour(start: Any) -> None:
    code, shown = in_terminal(start, "methods", "attack", stdout="")
    assert code == 0
    assert "───" in shown
    assert "\x1b[" in shown
    assert '{"xaicli"' not in shown


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [((), {"NO_COLOR": "1"}), ((), {"TERM": "dumb"}), (("--no-color",), {})],
)
def test_no_colour_when_not_wanted(arguments: tuple[str, ...], environment: dict[str, str], start: Any) -> None:
    code, shown = in_terminal(start, "methods", "attack", *arguments, env=environment, stdout="")
    assert code == 0
    assert "───" in shown
    assert "\x1b" not in shown


def test_records_in_a_terminal_when_asked(start: Any) -> None:
    code, shown = in_terminal(start, "methods", "attack", "--format", "json", stdout="")
    assert code == 0
    assert [json.loads(line)["kind"] for line in shown.splitlines()] == ["method"] * len(names("attack"))


def test_a_terminal_as_standard_input_is_2(start: Any, here: Path) -> None:
    code, _ = in_terminal(start, "evaluate", "-", stdin="")
    assert code == 2


def test_progress_is_a_bar_on_a_terminal(files: Any, start: Any, here: Path) -> None:
    command = ("explain", str(files.checkpoint), "-m", "edges", "-n", "4", "-o")
    code, shown = in_terminal(start, *command, "a.h5", stderr="")
    assert code == 0
    assert "4/4" in shown


@pytest.mark.parametrize("command", ["--help", "--version", "methods", "CHECKPOINT", "STORE"])
def test_fast_commands_import_nothing_heavy(command: str, files: Any, here: Path) -> None:
    """SPEC 8 gives them 0.3 s; torch alone would take ten times that."""
    arguments = {
        "CHECKPOINT": ["store", "info", str(files.checkpoint)],
        "STORE": ["store", "info", str(files.images)],
    }.get(command, [command])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "xaicli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    heavy = {"torch", "torchvision", "scipy", "sklearn", "skimage", "matplotlib", "PIL", "captum", "shap"}
    assert not imported & heavy
    assert "xaicli.cli.main" in imported
    if command != "STORE":
        assert not imported & {"numpy", "h5py", "safetensors"}
