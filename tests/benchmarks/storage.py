"""What the store costs: its share of explaining at 224 px, the rate of a merge, and memory whatever the rows."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xaicli.explain.quantity import Target
from xaicli.explain.run import Explainer, answers_for
from xaicli.files.canonical import digest_json
from xaicli.files.checkpoint import CheckpointMeta, write_checkpoint
from xaicli.files.columns import Status, attack_columns, attribution_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.writer import StoreWriter
from xaicli.methods import parse_spec
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.state import state_arrays
from xaicli.run.calls import Calls
from xaicli.run.device import keep_freed_memory, steady_sums
from xaicli.run.inputs import Rows

SHAPE = (3, 224, 224)
BLOCK = 32

Encoded = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Size:
    """Blocks of the overhead, blocks of a merge and how many of them, and the rows whose peak memory is compared.

    A merge is measured several times: in a virtual machine memory that is touched for the first time is slow.
    """

    explained: int
    merged: int
    merges: int
    few: int
    many: int


WHOLE = Size(explained=5, merged=32, merges=5, few=2_000, many=20_000)
SMALL = Size(explained=1, merged=2, merges=1, few=16, many=32)


@dataclass(frozen=True)
class Figure:
    """One line of the table: a number, its unit and its bar."""

    what: str
    value: float
    unit: str
    bar: str


def measure_storage(size: Size) -> Iterator[Figure]:
    """The three figures."""
    steady_sums()
    keep_freed_memory()
    torch.set_num_threads(1)
    yield Figure(
        "store, share of explain saliency, torchvision:resnet18 at 224 px", overhead(size.explained), "", "< 0.05"
    )
    rates = [merge_rate(size.merged) for _ in range(size.merges)]
    yield Figure("store merge, 224 px", statistics.median(rates), "MB/s", ">= 500")
    peaks = [peak_memory(rows) for rows in (size.few, size.many)]
    yield Figure(f"peak memory of {size.many:,} rows over {size.few:,}", peaks[1] / peaks[0], "", "<= 1.10")


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


def peak_memory(rows: int) -> float:
    """Megabytes that a process explaining so many rows of 3x32x32 has at most."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, images = Path(folder) / "net.safetensors", Path(folder) / "images.h5"
        _write_checkpoint(checkpoint)
        _write_images(images, rows)
        script = (
            "import resource, sys; from xaicli.cli.main import run; code = run(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
        )
        command = [
            "explain",
            str(checkpoint),
            str(images),
            "-m",
            "saliency",
            "-m",
            "random",
            "-q",
            "-o",
            f"{folder}/maps/",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", script, *command], capture_output=True, check=True, text=True, env=environment
        )
        return int(done.stderr.split()[-1]) / 1000


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


def _write_checkpoint(path: Path) -> None:
    arch, names = parse_arch("cnn:width=4"), tuple(str(number) for number in range(10))
    torch.manual_seed(0)
    net = Classifier(build_network(arch, 10, 3, (32, 32)), [0.5] * 3, [0.25] * 3, names, (3, 32, 32))
    job: dict[str, Any] = {"verb": "import", "method": None, "options": {}, "parents": {}}
    meta = CheckpointMeta(
        job=job,
        job_id=digest_json(job),
        arch=arch.record,
        classes=names,
        shape=(3, 32, 32),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        data=None,
        lineage=(job,),
        versions={},
    )
    write_checkpoint(path, state_arrays(net), meta)


def _write_images(path: Path, rows: int) -> None:
    layout = StoreLayout(
        kind="images",
        job={"verb": "generate", "method": "class-images", "options": {}, "parents": {"data": None}},
        history=(),
        rows=rows,
        block=256,
        columns=attack_columns(shape=(3, 32, 32), classes=10, key_length=6, dtype="|u1"),
        attributes={"classes": [str(number) for number in range(10)]},
    )
    writer = StoreWriter(path, layout)
    for block in range(layout.blocks):
        count = layout.block_rows(block)
        index = np.arange(block * 256, block * 256 + count)
        columns = {column.name: column.empty(count) for column in layout.columns if column.name != "digest"}
        images = np.random.default_rng(block).integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)
        keys = np.array([f"{number:06d}".encode() for number in index])
        status = np.full(count, Status.OK, np.uint8)
        writer.write(
            block, columns | {"index": index, "label": index % 10, "key": keys, "data": images, "status": status}
        )
    writer.finish().close()
