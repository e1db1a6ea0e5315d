"""Which data a command works on: what artifacts name, and where the user's words place it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import run_here


def paint(root: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(40):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 128, (16, 16, 3), dtype=np.uint8) + 127 * (number % 2)).save(path)


def test_a_folder_named_once_is_found_for_everything_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets, here = tmp_path / "away" / "pets", tmp_path / "here"
    paint(pets)
    here.mkdir()
    monkeypatch.chdir(here)
    checkpoint, data = here / "net.safetensors", ("--data", f"folder:{pets}")
    small = ("--arch", "cnn:width=2,depth=3", "--epochs", "1", "--batch-size", "16")
    said = run_here("train", *data, *small, "-o", checkpoint)
    assert said.code == 0, said.err
    # the images are those of --data; expected gradients also want the training images, by the checkpoint's word
    explain = ("explain", checkpoint, "-m", "expected-gradients:samples=2,background=2", "-o", here / "maps.h5")
    assert "with --data-root" in run_here(*explain).err
    said = run_here(*explain, *data)
    assert said.code == 0, said.err
    evaluate = ("evaluate", here / "maps.h5", "-k", "deletion:steps=2", "-o", here / "scores.h5")
    assert "itself with --data folder:PATH" in run_here(*evaluate).err
    assert run_here(*evaluate, "--data-root", pets.parent).code == 0
    assert run_here(*evaluate, *data).code == 0
    said = run_here(*evaluate, "--data", "digits")
    assert said.code == 2 and "explains rows of 'folder:pets', not of 'digits'" in said.err
