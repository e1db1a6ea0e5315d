"""What all tests share: the command line run in this process, one small trained model, one thread."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from xaicli.cli.main import run
from xaicli.cli.output import OUTPUT
from xaicli.run.progress import Progress

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does, and before torch is imported


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Standard output, every line of which is a JSON object."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def record(self) -> dict[str, Any]:
        (record,) = self.records
        return record


class Stream(io.BytesIO):
    """Standard output in memory, a terminal if so wished."""

    def __init__(self, terminal: bool = False) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def run_here(*arguments: str | Path, stdin: bytes = b"", terminal: bool = False) -> Said:
    """Run one command in this process, as `xaicli ARGUMENTS` would."""
    before = sys.stdin, sys.stdout, sys.stderr
    out, err = Stream(terminal), io.StringIO()
    sys.stdin, sys.stderr = io.TextIOWrapper(io.BytesIO(stdin)), err
    try:
        OUTPUT.write_to(out)
        code = run([str(argument) for argument in arguments])
        return Said(code, out.getvalue(), err.getvalue())
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
        Progress.quiet, Progress.color = False, True


def start_process(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start a real `xaicli` process."""
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, "-m", "xaicli", *map(str, arguments)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, **{**pipes, **options})


def run_process(*arguments: str | Path, stdin: bytes = b"", **options: Any) -> Said:
    """Run a real `xaicli` process to its end."""
    with start_process(*arguments, stdin=subprocess.PIPE, **options) as process:
        out, err = process.communicate(stdin, timeout=120)
        return Said(process.returncode, out or b"", (err or b"").decode())


@pytest.fixture(scope="session")
def call() -> Callable[..., Said]:
    """`call("train", ...)`: one command in this process."""
    return run_here


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[bytes]]:
    """`start("train", ...)`: a real process, not waited for."""
    return start_process


@pytest.fixture(scope="session")
def spawn() -> Callable[..., Said]:
    """`spawn("train", ...)`: a real process, to its end."""
    return run_process


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("XAICLI_") or name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Files:
    """A checkpoint trained on digits for two epochs, and what was made of it, each with its record."""

    checkpoint: Path
    images: Path
    maps: Path
    scores: Path
    records: dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """One artifact of every kind, in a folder that tests must not change."""
    folder = tmp_path_factory.mktemp("files")
    made = Files(folder / "m.safetensors", folder / "m.fgsm.h5", folder / "m.saliency.h5", folder / "m.scores.h5", {})
    small = ("-n", "12", "--batch-size", "4")
    for kind, command in {
        "checkpoint": ("train", "--data", "digits", "--arch", "cnn:width=4", "--epochs", "2", "-o", made.checkpoint),
        "images": ("attack", made.checkpoint, "-a", "fgsm", *small, "-o", made.images),
        "attributions": ("explain", made.checkpoint, "-m", "saliency", *small, "-o", made.maps),
        "scores": ("evaluate", made.checkpoint, *small, "-o", made.scores),
    }.items():
        said = run_here(*command)
        assert said.code == 0, said.err
        made.records[kind] = said.records[0]
    yield made
