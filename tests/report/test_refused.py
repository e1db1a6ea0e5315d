"""Pictures of what may be refused: which rows are chosen, and what stands below samples and maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xaicli.files.columns import JUDGED, Status, attribution_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.store import Store, open_store
from xaicli.files.writer import StoreWriter
from xaicli.report.contact import contact_sheet
from xaicli.report.panels import LINE, SIDE
from xaicli.report.pictures import chosen_rows, drawn_map, explained_cell, maps_picture, read_said, sample_cell
from xaicli.report.sheet import GAP, INK, MISS, to_rgb

PREDICTED = np.array([0, 1, 0, 1, 0, 0, 0, 1])
LABEL = np.array([0, 0, 65535, 1, 65535, 0, 1, 65535])
REFUSED = np.array([0, 0, 1, 1, 1, 0, 0, 0])
PIXELS = np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1) / 8 * np.ones((8, 1, 4, 4), dtype=np.float32)
RAMP = np.arange(16, dtype=np.float32).reshape(1, 4, 4)


def written(path: Path, method: str = "gradcam", target: str = "predicted", *, deviation: bool = False) -> Store:
    """Eight rows of two classes, three of them of neither."""
    refusal = target == "unknown"
    classes = ["a", "b", *(["UNKNOWN"] if refusal else [])]
    columns = attribution_columns(
        shape=(1, 4, 4),
        classes=len(classes),
        key_length=2,
        deviation=deviation,
        extra=JUDGED,
        inputs=((1, 4, 4), "<f4"),
    )
    parents = {"checkpoint": "c"}
    job = {"verb": "explain", "method": method, "options": {}, "target": target, "parents": parents}
    attributes = {"classes": classes, "known": [3, 5]}
    writer = StoreWriter(path, StoreLayout("attributions", job, (job,), 8, 8, columns, attributes=attributes))
    logits = np.eye(len(classes), dtype=np.float32)[PREDICTED]
    logits[:, 2:] = 9.0  # a refusal is no class that is predicted
    rows = {
        "index": np.arange(8),
        "label": LABEL,
        "status": np.full(8, Status.OK, dtype=np.uint8),
        "key": np.array([b"r%d" % n for n in range(8)]),
        "sample": np.zeros((8, 16), dtype=np.uint8),
        "target": np.full(8, 2) if refusal else PREDICTED,
        "against": np.full(8, 65535),
        "prediction": logits,
        "known_score": -REFUSED.astype(np.float32),
        "refused": REFUSED,
        "data": PIXELS,
        "attribution": np.broadcast_to(RAMP, (8, 1, 4, 4)),
        **({"deviation": np.broadcast_to(RAMP.transpose(0, 2, 1), (8, 1, 4, 4))} if deviation else {}),
    }
    writer.write(0, rows)
    writer.finish().close()
    return open_store(path)


def test_refused_rows_and_others_are_chosen_alike(tmp_path: Path) -> None:
    store = written(tmp_path / "m.h5")
    assert chosen_rows(store, 2).tolist() == [0, 2]
    assert chosen_rows(store, 4).tolist() == [0, 1, 2, 3]  # one of each class explained, refused or not
    assert chosen_rows(store, 7).tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert chosen_rows(store, 99).tolist() == list(range(8))


SAID = ["a", "b", "UNKNOWN", "UNKNOWN", "UNKNOWN", "a", "a", "b"]
WRONG = [False, True, False, True, False, False, True, True]  # row 3 is known and refused, row 7 unknown and let in


@pytest.mark.parametrize("target", ["predicted", "unknown"])
def test_samples_are_named_by_what_the_model_says(tmp_path: Path, target: str) -> None:
    store = written(tmp_path / "m.h5", target=target)
    held = read_said(store, np.arange(8), ())
    cells = [sample_cell(store, held, n, np.zeros((4, 4, 3), dtype=np.uint8)) for n in range(8)]
    assert [cell.caption for cell in cells] == SAID
    assert [cell.colour for cell in cells] == [MISS if wrong else INK for wrong in WRONG]


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("gradcam", "predicted", ["a", "b", "a", "b", "a", "a", "a", "b"]),
        ("open-set", "predicted", SAID),
        ("gradcam", "unknown", ["UNKNOWN"] * 8),
    ],
)
def test_maps_are_named_by_what_they_explain(tmp_path: Path, method: str, target: str, expected: list[str]) -> None:
    store = written(tmp_path / "m.h5", method, target)
    held = read_said(store, np.arange(8), ())
    cells = [explained_cell(store, held, n, np.zeros((4, 4, 3), dtype=np.uint8)) for n in range(8)]
    assert [cell.caption for cell in cells] == expected


def test_deviations_stand_beside_their_maps(tmp_path: Path) -> None:
    mean, plain = written(tmp_path / "m.h5", deviation=True), written(tmp_path / "p.h5", "ixg")
    rows = np.arange(8)
    sheet = np.asarray(contact_sheet([mean, plain], lambda rows: PIXELS[rows], rows))
    alone = np.asarray(maps_picture(mean, lambda rows: PIXELS[rows], rows))
    assert sheet.shape == (GAP + LINE + 8 * (SIDE + LINE + GAP), GAP + 4 * (SIDE + GAP), 3)
    assert alone.shape == (sheet.shape[0], GAP + 3 * (SIDE + GAP), 3)
    for row in (0, 5):
        shown = to_rgb(PIXELS[row])
        for column, drawn in enumerate((RAMP, RAMP.transpose(0, 2, 1)), start=1):
            expected = drawn_map(drawn, shown).repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)
            assert np.array_equal(cell(sheet, row, column), expected)
            assert np.array_equal(cell(alone, row, column), expected)


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """The pixels of an enlarged cell, [SIDE, SIDE, 3]."""
    top, left = GAP + LINE + row * (SIDE + LINE + GAP), GAP + column * (SIDE + GAP)
    return picture[top : top + SIDE, left : left + SIDE]
