"""Rows that fail are kept, marked, and end the command with 3; the other rows are what they would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xaicli.data.dataset import UNKNOWN
from xaicli.files.columns import Column, Status, attack_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.store import Store, open_store
from xaicli.files.writer import StoreWriter

FACTORY = '''
import torch
from torch import nn


class Bad(nn.Module):
    """Logits are NaN for images whose first pixel is 1; maps alone are NaN where the mean is above one half."""

    def __init__(self, classes, channels, mode):
        super().__init__()
        self.features = nn.Conv2d(channels, 4, 3, padding=1)
        self.head = nn.Linear(4, classes)
        self.mode = mode

    def forward(self, x):
        if self.mode == "logits":
            x = torch.where(x[:, :, :1, :1] == 1, torch.nan, x)
        else:
            x = x + (x - x).abs().sqrt()  # the value is 0, the slope 0/0
        return self.head(self.features(x).relu().mean((2, 3)))


def make(num_classes, channels, mode="logits"):
    return Bad(num_classes, channels, mode)
'''


@pytest.fixture
def damaged(files: Any, tmp_path: Path) -> Path:
    """The images store with NaN in row 3 and a first pixel of exactly 1 in row 5 only, as another program made it."""
    with open_store(files.images) as store:
        rows = store.read(slice(None))
        curves: dict[str, np.ndarray[Any, Any]] = {}
        layout = _layout(store)
    rows.pop("digest")
    rows["data"] = np.clip(rows["data"], 0, 0.99)
    rows["data"][3, 0, 7, 7] = np.nan
    rows["data"][5, 0, 0, 0] = 1
    path = tmp_path / "images.h5"
    writer = StoreWriter(path, layout)
    for block in range(layout.blocks):
        part = slice(block * layout.block, min((block + 1) * layout.block, layout.rows))
        writer.write(block, {name: values[part] for name, values in rows.items()}, curves)
    writer.finish().close()
    return path


def _layout(store: Store) -> StoreLayout:
    return StoreLayout(
        kind="images",
        job=store.job,
        history=list(store.history),
        rows=store.rows,
        block=store.job["block"],
        columns=attack_columns(
            shape=(1, 32, 32), classes=10, key_length=5, extra=(Column("clean_prediction", "<u2", fill=UNKNOWN),)
        ),
        attributes=store.attributes,
    )


def test_nan_in_images(damaged: Path, files: Any, call: Any, here: Path) -> None:
    said = call("explain", damaged, "-m", "saliency", "-o", "x.h5", "--parent", files.checkpoint)
    assert said.code == 3, said.err
    assert said.err == ""
    assert (said.record["rows"], said.record["failed"]) == (12, 1)
    with open_store("x.h5") as store:
        status = store.column("status")
        assert status.tolist() == [Status.NON_FINITE if row == 3 else Status.OK for row in range(12)]
        maps = store.column("attribution")
        assert np.isnan(maps[3]).all()
        assert np.isfinite(np.delete(maps, 3, axis=0)).all()
        store.verify()
    judged = call("evaluate", "x.h5", damaged, files.checkpoint, "-o", "y.h5", "-k", "deletion:steps=4")
    assert judged.code == 3, judged.err
    assert {record["n"] for record in judged.records if record["kind"] == "metric"} == {11}


def test_the_same_job_again_still_says_that_rows_failed(damaged: Path, files: Any, call: Any, here: Path) -> None:
    command = ("explain", damaged, "-m", "edges", "-o", "x.h5", "--parent", files.checkpoint)
    first, again = call(*command), call(*command)
    assert (again.code, again.records) == (3, first.records)


def test_nan_in_logits_and_in_maps(damaged: Path, files: Any, call: Any, here: Path) -> None:
    (here / "bad.py").write_text(FACTORY)
    (here / "bad.py").chmod(0o600)
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    shapes = {"features.weight": (4, 1, 3, 3), "features.bias": (4,), "head.weight": (10, 4), "head.bias": (10,)}
    save_file({name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, "w.safetensors")
    failed = {"logits": [3, 5], "maps": list(range(12))}
    for mode, rows in failed.items():
        said = call("import", "w.safetensors", "--arch", f"./bad.py:make:mode={mode}", "--input", "1x32x32",
                    "--classes", "10", "-o", f"{mode}.safetensors")  # fmt: skip
        assert said.code == 0, said.err
        said = call("explain", f"{mode}.safetensors", damaged, "-m", "saliency", "-o", f"{mode}.h5")
        assert said.code == 3, said.err
        assert said.record["failed"] == len(rows)
        with open_store(f"{mode}.h5") as store:
            assert np.flatnonzero(store.column("status") != Status.OK).tolist() == rows
    with open_store("maps.h5") as store:
        finite = np.isfinite(store.column("prediction")).all(1)
        assert not finite.any(), "a failed row has no numbers at all"
