"""What the store costs: its share of explaining at 224 px, and the rate of a merge."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.table import Line
from xaicli.explain.quantity import Target
from xaicli.explain.run import Explainer, answers_for
from xaicli.files.columns import Status, attribution_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.writer import StoreWriter
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.inputs import Rows
from xaicli.specs import parse_spec

SHAPE = (3, 224, 224)
BLOCK = 32

Encoded = Mapping[str, np.ndarray[Any, Any]]


def lines(small: bool) -> Iterator[Line]:
    """Both figures.

    A merge is measured several times: in a virtual machine memory that is touched for the first time is slow.
    """
    explained, merged, merges = (1, 2, 1) if small else (5, 32, 5)
    what = "store, share of explain saliency, torchvision:resnet18 at 224 px"
    yield Line(what, "< 0.05", lambda: overhead(explained))
    rates = lambda: statistics.median(merge_rate(merged) for _ in range(merges))  # noqa: E731
    yield Line("store merge, 224 px", ">= 500", rates, "MB/s")


def overhead(blocks: int) -> float:
    """Process seconds of encoding, hashing, writing and syncing, over those of explaining; the median of the blocks."""
    torch.manual_seed(0)
    names = [str(number) for number in range(10)]
    net = Classifier(
        build_network(parse_arch("torchvision:resnet18"), 10, 3, SHAPE[1:]), [0.5] * 3, [0.25] * 3, names, SHAPE
    )
    calls = Calls(net.eval().requires_grad_(False), batch_size=BLOCK)
    explainer = Explainer(parse_spec("explain", "saliency"))
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        writer = StoreWriter(Path(folder) / "maps.h5", _layout("attributions", blocks))
        for block in range(blocks):
            rows = _rows(block)
            start = time.process_time()
            columns = explainer.columns(answers_for(rows, calls, Target("predicted"), "logit", 0))
            between = time.process_time()
            writer.write(block, rows.columns() | columns)
            writer.flush()
            shares.append((time.process_time() - between) / (between - start))
    return statistics.median(shares)


def merge_rate(blocks: int) -> float:
    """Megabytes of the finished store a wall second, fsync included, with the segments in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.h5"
        writer = StoreWriter(path, _layout("attributions", blocks))
        for block in range(blocks):
            rows = _rows(block)
            writer.write(block, rows.columns() | _made(rows))
        writer.flush()
        os.sync()
        start = time.perf_counter()
        writer.finish().close()
        return path.stat().st_size / (time.perf_counter() - start) / 1e6


def _layout(kind: str, blocks: int) -> StoreLayout:
    return StoreLayout(
        kind=kind,
        job={"verb": "explain", "method": "saliency", "options": {}, "parents": {}},
        history=(),
        rows=blocks * BLOCK,
        block=BLOCK,
        columns=attribution_columns(shape=SHAPE, classes=10, key_length=6),
        attributes={"classes": [str(number) for number in range(10)], "forwards": 1},
    )


def _rows(block: int) -> Rows:
    index = np.arange(block * BLOCK, (block + 1) * BLOCK)
    pixels = np.random.default_rng(block).random((BLOCK, *SHAPE), dtype=np.float32)
    stored = (pixels * 255).astype(np.uint8)
    ok = np.full(BLOCK, Status.OK, np.uint8)
    return Rows(index, index, index % 10, pixels, stored, ok, [f"{number:06d}" for number in index])


def _made(rows: Rows) -> Encoded:
    return {
        "attribution": rows.pixels,
        "prediction": np.zeros((BLOCK, 10), np.float32),
        "target": rows.labels.astype(np.uint16),
        "against": rows.labels.astype(np.uint16),
    }
