"""Contact sheets of generated images: every tile is where it belongs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xaicli
from xaicli.data.open import open_data
from xaicli.report.sheet import APART, GAP, LINE, MISS, Group, Tile, draw_sheet, to_rgb

SIDE = 96


def grey(level: int, framed: bool = False, caption: str = "") -> Tile:
    return Tile(np.full((32, 32, 3), level, dtype=np.uint8), caption, framed)


def tile(sheet: np.ndarray, right: int, top: int) -> np.ndarray:
    """The pixels of a tile whose right edge is so far from the sheet's."""
    left = sheet.shape[1] - right - SIDE
    return sheet[top : top + SIDE, left : left + SIDE]


def enlarged(image: np.ndarray) -> np.ndarray:
    return to_rgb(image).repeat(3, axis=0).repeat(3, axis=1)


def test_groups_stand_beside_each_other_below_their_titles() -> None:
    one = Group([[grey(10), grey(20)], [grey(30)]], "one")
    two = Group([[grey(40)], [grey(50, framed=True)]], "two")
    sheet = np.asarray(draw_sheet(["a", "b"], [one, two]))
    step, top = SIDE + GAP, LINE + GAP
    assert sheet.shape[0] == LINE + GAP + 2 * step
    first, second = GAP + step + APART, GAP  # from the right edge, of each group's last column
    for right, row, level in ((second, 0, 40), (first, 0, 20), (first + step, 0, 10), (first + step, 1, 30)):
        assert (tile(sheet, right, top + row * step) == level).all()
    assert (tile(sheet, first, top + step) == 255).all()  # nothing there
    assert (tile(sheet, second, top + step)[1:-1, 1:-1] == 50).all()
    assert sheet[top + step - 1, -second - SIDE // 2].tolist() == list(MISS)


def test_a_caption_makes_room_below_every_row() -> None:
    sheet = np.asarray(draw_sheet(["a", "b"], [Group([[grey(10, caption="x")], [grey(20)]])]))
    assert sheet.shape[0] == GAP + 2 * (SIDE + LINE + GAP)
    assert (tile(sheet, GAP, GAP + SIDE + LINE + GAP) == 20).all()
    assert (sheet[GAP + SIDE : GAP + SIDE + LINE, -SIDE:] < 128).any()


@pytest.mark.parametrize("method", ["inversion:steps=1", "counterfactual:steps=2"])
def test_what_is_made_of_images_stands_below_them(method: str, call, files, here) -> None:
    rows = ("--classes", "2,5", "--per-class", "1", "-q", "--png")
    said = call("generate", files.checkpoint, "-g", method, *rows, "-o", "made.h5")
    assert said.code == 0, said.err
    store = xaicli.open_store("made.h5")
    originals = open_data("digits", split="test", shape=(1, 32, 32)).read(store["index"][:].astype(int)).pixels
    with Image.open(Path("made.png")) as picture:
        sheet = np.asarray(picture)
    step = SIDE + GAP
    for n, right in enumerate((GAP + step, GAP)):
        assert np.array_equal(tile(sheet, right, GAP), enlarged(originals[n]))
        assert np.array_equal(tile(sheet, right, GAP + step + LINE)[2:-2, 2:-2], enlarged(store["data"][n])[2:-2, 2:-2])


def test_training_images_of_most_and_least_response_stand_beside(call, files, here) -> None:
    rows = ("--classes", "4", "--per-class", "1", "-q", "--png")
    said = call("generate", files.checkpoint, "-g", "feature-visualisation:steps=1,samples=50", *rows, "-o", "made.h5")
    assert said.code == 0, said.err
    store, training = xaicli.open_store("made.h5"), open_data("digits", split="train", shape=(1, 32, 32))
    with Image.open(Path("made.png")) as picture:
        sheet = np.asarray(picture)
    step, top = SIDE + GAP, LINE + GAP
    least, most = GAP, GAP + 3 * step + APART
    for side, right in (("bottom", least), ("top", most)):
        images = training.read(store[side][0].astype(int)).pixels
        for n in range(3):
            assert np.array_equal(tile(sheet, right + (2 - n) * step, top), enlarged(images[n]))
    assert store["top_value"][0].tolist() == sorted(store["top_value"][0], reverse=True)
    assert store["top_value"][0].min() > store["bottom_value"][0].max()
