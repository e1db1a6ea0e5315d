"""A disk that fills while publishing: 74, one sentence, and what was there stays as it was."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

SMALL = ("-n", "6", "--batch-size", "6")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt to bring a file to disk fails."""

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("xaicli.files.atomic.os.fsync", fail)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("train", "--data", "digits", "--arch", "cnn:width=2", "--epochs", "1"), "y.safetensors"),
        (("attack", "m.safetensors", "-a", "fgsm", *SMALL), "y.h5"),
        (("explain", "m.safetensors", "-m", "edges", *SMALL), "y.h5"),
        (("evaluate", "m.safetensors", *SMALL), "y.h5"),
        (("generate", "m.safetensors", "-g", "class-images:steps=1,start=noise", "--per-class", "1"), "y.h5"),
    ],
)
def test_every_verb(command: tuple[str, ...], name: str, files: Any, call: Any, here: Path, full: None) -> None:
    shutil.copy(files.checkpoint, "m.safetensors")
    (here / name).write_bytes(b"earlier")
    said = call(*command, "-o", name, "--force")
    assert (said.code, said.out) == (74, "")
    assert said.err.startswith(f"xaicli: '{name}")
    assert said.err.endswith(
        "cannot be written (No space left on device); free space or choose another place, then run again.\n"
    )
    assert (here / name).read_bytes() == b"earlier"
    assert sorted(path.name for path in here.iterdir() if path.suffix != ".parts") == sorted(["m.safetensors", name])


def test_a_folder_that_is_a_file_is_73(files: Any, call: Any, here: Path) -> None:
    (here / "taken").write_text("mine")
    said = call("explain", files.checkpoint, "-m", "edges", *SMALL, "-o", "taken/x.h5")
    assert (said.code, said.out) == (73, "")
    assert said.err.count("\n") == 1
    assert (here / "taken").read_text() == "mine"


def test_a_name_that_is_too_long_is_74(files: Any, call: Any, here: Path) -> None:
    said = call("explain", files.checkpoint, "-m", "edges", *SMALL, "-o", "x" * 300 + ".h5")
    assert (said.code, said.out) == (74, "")
    assert said.err.count("\n") == 1
    assert list(here.iterdir()) == []
