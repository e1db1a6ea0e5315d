"""The benchmark runs and prints every row; how fast is not for a test to say."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROWS = [
    *(
        f"{what}, {arch} 3x32x32"
        for arch in ("cnn", "resnet18-cifar")
        for what in (
            "explain saliency",
            "explain integrated-gradients:steps=2",
            "explain gradcam",
            "evaluate deletion:steps=10",
            "evaluate insertion:steps=10",
            "attack pgd:steps=2",
            "attack pgd:norm=l2,steps=2",
        )
    ),
    "store, share of explain saliency, torchvision:resnet18 at 224 px",
    "store merge, 224 px",
    "peak memory of 32 rows over 16",
    "xaicli --help",
    "xaicli --version",
    "xaicli methods",
    "xaicli store info",
]


@pytest.mark.slow
def test_the_small_benchmark_prints_every_row() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--small"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()[1:]
    assert len(lines) == len(ROWS)
    for row, line in zip(ROWS, lines, strict=True):
        figure = line.removeprefix(row).split()[0]
        assert line.startswith(row) and float(figure) > 0
