"""Contact sheets: what is drawn where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xaicli.files.columns import Status, generate_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.sources import Sources
from xaicli.files.writer import StoreWriter
from xaicli.report.generated import write_sheets
from xaicli.report.sheet import GAP, MISS, to_rgb
from xaicli.run.settings import Settings

SIDE = 16


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """Four images of two classes, each of one grey level; the last is taken for the other class."""
    columns = generate_columns(shape=(1, SIDE, SIDE), classes=2, key_length=4, steps=1)
    job = {"verb": "generate", "method": "class-images"}
    layout = StoreLayout("images", job, (job,), rows=4, block=4, columns=columns, attributes={"classes": ["a", "b"]})
    levels = np.array([50, 100, 150, 200], dtype=np.uint8)
    path = tmp_path / "generated.h5"
    writer = StoreWriter(path, layout)
    target = np.array([0, 0, 1, 1])
    logits = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], dtype=np.float32)
    writer.write(
        0,
        {
            "index": np.arange(4),
            "label": target,
            "status": np.full(4, Status.OK, dtype=np.uint8),
            "key": np.array([b"r0", b"r1", b"r2", b"r3"]),
            "sample": np.zeros((4, 16), dtype=np.uint8),
            "target": target,
            "start": np.arange(4),
            "prediction": logits,
            "score": np.zeros(4, dtype=np.float32),
            "loss": np.zeros((4, 1), dtype=np.float32),
            "data": np.broadcast_to(levels[:, None, None, None], (4, 1, SIDE, SIDE)),
        },
    )
    writer.finish().close()
    return path


def test_rows_are_classes_and_a_miss_is_framed(generated: Path) -> None:
    (path,) = write_sheets([generated], Parents(Sources([]), ()), Settings())
    assert path == generated.with_suffix(".png")
    sheet = np.asarray(Image.open(path))
    shown = 96  # 16 pixels enlarged six times
    assert sheet.shape[0] == GAP + 2 * (shown + GAP)
    left = sheet.shape[1] - 2 * (shown + GAP)
    for row, column, level in ((0, 0, 50), (0, 1, 100), (1, 0, 150), (1, 1, 200)):
        top = GAP + row * (shown + GAP)
        middle = sheet[top + shown // 2, left + column * (shown + GAP) + shown // 2]
        assert middle.tolist() == [level] * 3
    frame_top = GAP + (shown + GAP) - 1
    assert sheet[frame_top, left + shown + GAP + shown // 2].tolist() == list(MISS)
    assert sheet[frame_top, left + shown // 2].tolist() == [255, 255, 255]


def test_to_rgb_keeps_colours_and_repeats_grey() -> None:
    colour = np.zeros((3, 1, 2), dtype=np.float32)
    colour[0, 0, 1] = 1.0
    assert to_rgb(colour).tolist() == [[[0, 0, 0], [255, 0, 0]]]
    assert to_rgb(np.full((1, 1, 1), 51, dtype=np.uint8)).tolist() == [[[51, 51, 51]]]
    assert to_rgb(np.array([0.0, 0.5], dtype=np.float32).reshape(2, 1, 1)).tolist() == [[[64, 64, 64]]]
