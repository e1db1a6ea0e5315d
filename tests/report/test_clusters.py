"""The gallery of clusters: which images stand in which row, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Files, run_here
from xaicli.data.open import open_data
from xaicli.files.artifact import identify
from xaicli.files.parents import Parents
from xaicli.files.sources import Sources
from xaicli.files.store import open_store
from xaicli.report import clusters
from xaicli.report.clusters import clusterings, gallery, judged_images, said
from xaicli.report.panels import SIDE
from xaicli.report.sheet import INK, MISS, to_rgb
from xaicli.run.settings import Settings


@pytest.fixture(scope="module")
def scores(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    train = ("train", "--data", "digits", "--arch", "mlp:hidden=8", "--epochs", "1", "--known", "0,1,2,3,4,5,6")
    judge = ("-k", "clustering:clusters=2", "-k", "selective", "--unknown", "noise", "--unknown", files.images)
    for command in (
        (*train, "--detector", "mahalanobis", "-o", folder / "m.safetensors"),
        ("evaluate", folder / "m.safetensors", *judge, "-o", folder / "s.h5"),
    ):
        ended = run_here(*command)
        assert ended.code == 0, ended.err
    return folder / "s.h5"


def test_images_are_those_of_the_rows_whichever_data_they_are_of(files: Files, scores: Path) -> None:
    parents = Parents(Sources([identify(files.images)], {}), ())
    with open_store(scores) as store, open_store(files.images) as attacked:
        images = judged_images(store, parents, Settings())
        rows = np.array([3, 360, 1359, 1360, 1371])
        found, own = images(rows), attacked.read(slice(None), ["data"])["data"]
        samples = store.column("sample")[rows]
    np.testing.assert_allclose(found[0], open_data("digits").read([3]).pixels[0] / 255, atol=1e-7)
    noise = open_data("noise", shape=(1, 32, 32)).read([0, 999]).pixels
    np.testing.assert_allclose(found[1:3], noise / 255, atol=1e-7)
    np.testing.assert_allclose(found[3:], own[[0, 11]], atol=1e-7)
    assert len(np.unique(samples, axis=0)) == 5


def test_rows_of_the_gallery_are_clusters(files: Files, scores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(clusters, "draw_panels", lambda heads, rows: drawn.extend((heads, rows)))
    with open_store(scores) as store:
        aggregates = json.loads(store.aggregates()["scores"])
        (entry,) = clusterings(aggregates)
        images = judged_images(store, Parents(Sources([identify(files.images)], {}), ()), Settings())
        gallery(store, entry, images, 4)
        labels, truth = (store.column(f"sources/0/clustering{part}") for part in ("", "-class"))
        classes = store.job["open"]["classes"]
    heads, rows = drawn
    assert len(heads) == 5 and [len(cells) for cells in rows] == [5, 5]
    for number, (mean, *cells) in enumerate(rows):
        places = np.flatnonzero(labels == number)
        described = entry["details"]["clusters"][number]
        assert mean.caption == said(described) and described["rows"] == len(places)
        shown = [places[0], *places[np.linspace(0, len(places) - 1, 4).round().astype(int)][1:]]
        for cell, place in zip(cells, shown, strict=True):
            name = classes[int(truth[place])]
            assert cell.caption == name and cell.colour == (INK if name == described["class"] else MISS)
            np.testing.assert_array_equal(cell.image, to_rgb(images(np.array([place]))[0]))


def test_what_is_said_of_a_cluster() -> None:
    cluster = {"cluster": 0, "rows": 12, "class": "bag", "purity": 0.75}
    assert said(cluster) == "bag, 75%"
    assert said({**cluster, "class": None}) == "no class, 75%"
    assert said({**cluster, "cluster": -1, "class": None, "purity": None}) == "none: 12"


def test_a_report_draws_curve_and_gallery(files: Files, scores: Path, call: Any, here: Path) -> None:
    ended = call("report", scores, "--parent", scores.parent, "--parent", files.images, "-n", "3", "-o", "page.html")
    assert ended.code == 0, ended.err
    text = (here / "page.html").read_text()
    assert text.count("<img") == 2
    for title in ("s: risk and coverage", "s: clustering"):
        assert f"<h2>{title}</h2>" in text
    with open_store(scores) as store:
        found = {entry["metric"]: entry for entry in json.loads(store.aggregates()["scores"])}
    forced = found["selective-forced-accuracy"]
    value, low, high = (f"{100 * forced[key]:.4g}" for key in ("value", "low", "high"))
    assert f"<tr><th>selective-forced-accuracy</th><td>{value} % ({low} to {high})</td></tr>" in text
    assert call("report", scores, "--parent", scores.parent, "--parent", files.images, "-o", "p.png").code == 0
    with Image.open(here / "p.png") as picture:
        assert picture.width >= 10 * SIDE
