"""Seconds from typing a command to its answer, for the commands that need no model."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.benchmarks.table import Line
from xaicli.files.columns import attribution_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.writer import StoreWriter


def lines(small: bool) -> Iterator[Line]:
    """--help, --version, methods, store info."""
    times = 1 if small else 5
    for words in (["--help"], ["--version"], ["methods"], ["store", "info"]):
        yield Line(f"xaicli {' '.join(words)}", "<= 0.3", lambda w=words: _start(w, times), "s")


def _start(words: list[str], times: int) -> float:
    """The median over some starts, after one that warms the caches."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "maps.h5"
        _write_store(store)
        command = [sys.executable, "-m", "xaicli", *words, *([str(store)] if words[0] == "store" else [])]
        return statistics.median([_run(command) for _ in range(times + 1)][1:])


def _run(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def _write_store(path: Path) -> None:
    rows, shape = 64, (3, 32, 32)
    layout = StoreLayout(
        kind="attributions",
        job={"verb": "explain", "method": "saliency", "options": {}, "parents": {}},
        history=[],
        rows=rows,
        block=64,
        columns=attribution_columns(shape=shape, classes=10, key_length=5),
        attributes={"classes": [str(number) for number in range(10)]},
    )
    writer = StoreWriter(path, layout)
    columns = {
        "index": np.arange(rows, dtype=np.uint64),
        "label": np.zeros(rows, dtype=np.uint16),
        "status": np.ones(rows, dtype=np.uint8),
        "key": np.array([f"{number:05d}".encode() for number in range(rows)]),
        "sample": np.zeros((rows, 16), dtype=np.uint8),
        "target": np.zeros(rows, dtype=np.uint16),
        "against": np.full(rows, 65535, dtype=np.uint16),
        "prediction": np.zeros((rows, 10), dtype=np.float32),
        "attribution": np.random.default_rng(0).normal(size=(rows, *shape)).astype(np.float32),
    }
    writer.write(0, columns, {})
    writer.finish().close()
