"""The benchmark runs and prints every row; how fast is not for a test to say."""

from __future__ import annotations

import subprocess
import sys

import pytest

FEW = [  # a line of every room, and of the longest one every kind of work
    "explain saliency, cnn at 32 px",
    "evaluate deletion:steps=10, cnn at 32 px",
    "attack pgd:steps=2, cnn at 32 px",
    "train adversarial:steps=1, an epoch of cnn at 3x32x32",
    "train private, a step of dp-cnn at 1x28x28, 2 rows, over the plain one",
    "explain kernel-shap:samples=4, torchvision:resnet18 at 32 px",
    "eight CAMs together, times faster than grad-cam, ResNet-18 at 32 px",
    "lime: masks alone, for a classifier that costs nothing, 32 px",
    "store, share of explain saliency, torchvision:resnet18 at 224 px",
    "peak memory of 32 rows over 16",
    "xaicli store info",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the import of shap warns
def test_the_small_benchmark_prints_every_row() -> None:
    from tests.benchmarks.__main__ import ROOMS

    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--small"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()[1:]
    names = [line.what for room in ROOMS for line in room.lines(True)]
    assert len(lines) == len(names) == len(set(names)) and set(FEW) <= set(names)
    for name, line in zip(names, lines, strict=True):
        figure = float(line.removeprefix(f"{name} ").split()[0])
        assert line.startswith(f"{name} ") and (figure > 0 or "largest difference" in name)


@pytest.mark.slow
def test_a_single_row_can_be_selected() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--small", "--select", "explain rise"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.split(",")[0] for line in done.stdout.splitlines()[1:]] == ["explain rise:masks=4"] * 3
