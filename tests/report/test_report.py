"""The page: one file, with the pictures that people look at."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xaicli
from xaicli.data.open import open_data
from xaicli.report.panels import LINE, SIDE, Cell, draw_panels, scaled
from xaicli.report.pictures import chosen_rows, drawn_map
from xaicli.report.sheet import GAP, MISS, to_rgb

SMALL = ("-n", "12", "--batch-size", "16")


def pictures(page: Path) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page.read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """The pixels of an enlarged cell, [SIDE, SIDE, 3]."""
    top, left = GAP + LINE + row * (SIDE + LINE + GAP), GAP + column * (SIDE + GAP)
    return picture[top : top + SIDE, left : left + SIDE]


@pytest.fixture(scope="module")
def explained(call, files, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("explained")
    said = call("explain", files.checkpoint, "-m", "representer:k=3", "-m", "influence:experts=2", *SMALL, "-o", folder)
    assert said.code == 0, said.err
    return {record["kind"]: Path(record["path"]) for record in said.records}


def test_the_training_images_behind_a_row_are_shown_beside_it(call, files, explained, here: Path) -> None:
    said = call("report", explained["representer"], "--parent", files.checkpoint, "-n", "4", "-o", "r.html")
    assert said.code == 0, said.err
    assert (said.record["kind"], said.record["verb"], said.record["path"]) == ("report", "report", "r.html")
    (picture,) = pictures(Path("r.html"))
    assert picture.shape == (GAP + LINE + 4 * (SIDE + LINE + GAP), GAP + 7 * (SIDE + GAP), 3)
    store = xaicli.open_store(explained["representer"])
    training, test = open_data("digits", split="train"), open_data("digits", split="test")
    for number, row in enumerate(chosen_rows(store, 4)):
        where = np.searchsorted(test.index, store["index"][row])
        expected = [test.read([where]).pixels[0]]
        expected += [training.read([int(point)]).pixels[0] for point in store["exciting"][row]]
        expected += [training.read([int(point)]).pixels[0] for point in store["inhibiting"][row]]
        for column, image in enumerate(expected):
            enlarged = image[0].repeat(3, 0).repeat(3, 1)  # 32 pixels on 96
            assert np.array_equal(cell(picture, number, column), np.repeat(enlarged[..., None], 3, 2))


def test_the_page_is_one_file_with_figures_and_experts(call, files, explained, here: Path) -> None:
    sources = (files.checkpoint, files.maps, files.images, files.scores, *explained.values())
    said = call("report", *sources)
    assert said.code == 0, said.err
    text = Path("report.html").read_text()
    assert len(pictures(Path("report.html"))) == 6  # epochs, maps, attacked classes, calibration, experts, representers
    outside = re.findall(r'(?:src|href)="(?!data:)|https?://|<script', text)
    assert not outside and "identity error" in text and "fidelity training" in text and "experts=2" in text
    assert not (here / "r.html").exists()
    assert call("report", *sources).record["id"] == said.record["id"]  # the same page again
    assert call("report", explained["influence"], "--parent", files.checkpoint).code == 73
    assert call("report", explained["influence"], "--parent", files.checkpoint, "--force").code == 0


def test_records_lead_to_a_page(call, files, explained, here: Path) -> None:
    made = call("explain", files.checkpoint, "-m", "influence", *SMALL, "--save-inputs", "-o", "i.h5")
    said = call("report", "-", "-o", "pages/", stdin=made.raw)
    assert said.code == 0 and said.record["path"] == "pages/report.html", said.err
    assert said.record["parents"]["sources"][0]["id"] == made.record["id"]
    assert call("report", "i.h5", "-o", "-").code == 2
    assert call("report", "nothing.h5").code == 66


def test_rows_of_every_class_come_first(explained) -> None:
    store = xaicli.open_store(explained["influence"])
    target = store["target"]
    rows = chosen_rows(store, len(np.unique(target)))
    assert sorted(target[rows]) == sorted(np.unique(target)) and rows.tolist() == sorted(rows)
    assert chosen_rows(store, 99).tolist() == list(range(12))


def test_cells_are_squares_of_pixels_with_a_line_below() -> None:
    dark = np.zeros((2, 4, 3), dtype=np.uint8)
    picture = np.asarray(draw_panels(["a", "b"], [[Cell(dark), Cell(dark, "wrong", MISS)]]))
    assert picture.shape == (GAP + LINE + SIDE + LINE + GAP, GAP + 2 * (SIDE + GAP), 3)
    shown = cell(picture, 0, 0)
    assert (shown[SIDE // 4 : -SIDE // 4] == 0).all() and (shown[: SIDE // 4] == 255).all()
    below = picture[GAP + LINE + SIDE : GAP + LINE + SIDE + LINE]
    assert (below[:, : SIDE + GAP] == 255).all() and (below == MISS).all(2).any()
    assert scaled(np.zeros((300, 150, 3), dtype=np.uint8)).size == (48, 96)


def test_maps_of_the_same_images_are_drawn_beside_each_other(call, files, here: Path) -> None:
    methods = [f"integrated-gradients:steps={steps}" for steps in range(1, 13)]
    asked = [part for method in ["saliency", *methods] for part in ("-m", method)]
    made = call("explain", files.checkpoint, *asked, *SMALL, "-o", "maps/")
    assert made.code == 0, made.err
    paths = [record["path"] for record in made.records]
    assert call("report", *paths, "--parent", files.checkpoint, "-n", "3", "-o", "sheet.png").code == 0
    picture = np.asarray(Image.open("sheet.png"))
    tall = GAP + LINE + 3 * (SIDE + LINE + GAP)
    assert picture.shape == (2 * tall, GAP + 13 * (SIDE + GAP), 3)  # twelve methods a band, the images before each
    assert np.array_equal(picture[GAP + LINE : tall, : GAP + SIDE], picture[tall + GAP + LINE :, : GAP + SIDE])
    with xaicli.open_store(paths[0]) as store:
        row = chosen_rows(store, 3)[1]
        image = (
            open_data("digits", split="test")
            .read(np.searchsorted(open_data("digits", split="test").index, store["index"][[row]]))
            .pixels[0]
        )
        expected = drawn_map(store["attribution"][row], to_rgb(image)).repeat(3, 0).repeat(3, 1)
    assert np.array_equal(cell(picture, 1, 1), expected)
    assert call("report", files.checkpoint, "-o", "nothing.png").code == 2


def test_maps_of_several_models_have_the_class_that_each_explains(call, files, here: Path) -> None:
    small = ("--data", "digits", "--arch", "cnn:width=4", "--epochs", "1", "--seed", "3")
    assert call("train", *small, "-o", "other.safetensors").code == 0
    assert call("explain", files.checkpoint, "other.safetensors", "-m", "saliency", *SMALL, "-o", "maps/").code == 0
    paths = sorted(str(path) for path in Path("maps").iterdir())
    given = [part for parent in (files.checkpoint, "other.safetensors") for part in ("--parent", parent)]
    assert call("report", *paths, *given, "-n", "4", "-o", "sheet.png").code == 0
    picture = np.asarray(Image.open("sheet.png"))
    assert picture.shape == (GAP + LINE + 4 * (SIDE + LINE + GAP), GAP + 3 * (SIDE + GAP), 3)
    stores = [xaicli.open_store(path) for path in paths]
    rows = chosen_rows(stores[0], 4)
    for column, store in enumerate(stores, start=1):
        left = GAP + column * (SIDE + GAP)
        for n, row in enumerate(rows):
            top = GAP + LINE + n * (SIDE + LINE + GAP) + SIDE
            said = picture[top : top + LINE, left : left + SIDE]
            red = (said[..., 0] - said[..., 1].astype(int) > 60).any()
            assert red == (store["target"][row] != store["label"][row])
            assert (said != 255).any()
    assert any((store["target"][rows] != store["label"][rows]).any() for store in stores)
