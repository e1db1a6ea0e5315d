"""Peak memory of processes that explain: whatever the rows, and with the largest of everyday networks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.table import Line
from xaicli.files.canonical import digest_json
from xaicli.files.checkpoint import CheckpointMeta, write_checkpoint
from xaicli.files.columns import Status, attack_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.writer import StoreWriter
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.state import state_arrays

SMALL_NET = ("cnn:width=4", 32)
RESNET = ("torchvision:resnet50", 224)
CLASSES = 10
BLOCK = 256
SCRIPT = (
    "import resource, sys; from xaicli.cli.main import run; code = run(sys.argv[1:]);"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
)


def lines(small: bool) -> Iterator[Line]:
    """Rows that come to ten times as many, and two methods that ask thousands of questions about one image.

    KernelSHAP's peak is that of a batch of coalitions: fewer samples show it in less time. Score-CAM's is that of a
    batch seen through channels: the first layer has few channels, but the largest, and is above the last one.
    """
    few, many = (16, 32) if small else (2_000, 20_000)
    methods = ("saliency", "random")
    yield Line(
        f"peak memory of {many:,} rows over {few:,}",
        "<= 1.10",
        lambda: peak_memory(many, methods) / peak_memory(few, methods),
    )
    arch, side = ("torchvision:resnet18", 32) if small else RESNET
    batch = 2 if small else 32
    for text in ("scorecam:layer=layer1", f"kernel-shap:samples={4 if small else 128}"):
        what = f"peak memory of {text}, {arch} at {side} px, batches of {batch}"
        yield Line(what, "<= 3", lambda t=text: peak_memory(1, (t,), (arch, side), batch) / 1024, "GiB")


def peak_memory(rows: int, methods: Sequence[str], net: tuple[str, int] = SMALL_NET, batch: int | None = None) -> float:
    """Mebibytes that a process has at most while it explains so many images of noise by these methods."""
    arch, side = net
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, images = Path(folder) / "net.safetensors", Path(folder) / "images.h5"
        _write_checkpoint(checkpoint, arch, side)
        _write_images(images, rows, side)
        command = ["explain", str(checkpoint), str(images), "-q", "-o", f"{folder}/maps/"]
        command += [part for text in methods for part in ("-m", text)]
        command += ["--batch-size", str(batch)] if batch else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *command], capture_output=True, check=True, text=True, env=environment
        )
        return int(done.stderr.split()[-1]) / 1024


def _write_checkpoint(path: Path, text: str, side: int) -> None:
    arch, names = parse_arch(text), tuple(str(number) for number in range(CLASSES))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(arch, CLASSES, 3, (side, side))
    net = Classifier(network, [0.5] * 3, [0.25] * 3, names, (3, side, side))
    job: dict[str, Any] = {"verb": "import", "method": None, "options": {}, "parents": {}}
    meta = CheckpointMeta(
        job=job,
        job_id=digest_json(job),
        arch=arch.record,
        classes=names,
        shape=(3, side, side),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        data=None,
        lineage=(job,),
        versions={},
    )
    write_checkpoint(path, state_arrays(net), meta)


def _write_images(path: Path, rows: int, side: int) -> None:
    layout = StoreLayout(
        kind="images",
        job={"verb": "generate", "method": "class-images", "options": {}, "parents": {"data": None}},
        history=(),
        rows=rows,
        block=BLOCK,
        columns=attack_columns(shape=(3, side, side), classes=CLASSES, key_length=6, dtype="|u1"),
        attributes={"classes": [str(number) for number in range(CLASSES)]},
    )
    writer = StoreWriter(path, layout)
    for block in range(layout.blocks):
        count = layout.block_rows(block)
        index = np.arange(block * BLOCK, block * BLOCK + count)
        columns = {column.name: column.empty(count) for column in layout.columns if column.name != "digest"}
        images = np.random.default_rng(block).integers(0, 256, (count, 3, side, side)).astype(np.uint8)
        keys = np.array([f"{number:06d}".encode() for number in index])
        status = np.full(count, Status.OK, np.uint8)
        writer.write(
            block, columns | {"index": index, "label": index % CLASSES, "key": keys, "data": images, "status": status}
        )
    writer.finish().close()
