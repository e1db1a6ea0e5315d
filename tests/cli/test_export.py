"""Exports hold the store's own numbers, read back by the programs they are for."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from virelay import model

import xaicli


@pytest.mark.parametrize("kind", ["maps", "images", "scores"])
def test_numpy_reads_every_column(kind: str, files: Any, call: Any, tmp_path: Path) -> None:
    path = getattr(files, kind)
    record = call("store", "export", "npz", path, "-o", tmp_path / "x.npz").record
    assert (record["kind"], record["path"]) == ("export", str(tmp_path / "x.npz"))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive, xaicli.open_store(path) as store:
        assert set(store.columns) <= set(archive.files)
        for name in store.columns:
            assert np.array_equal(archive[name], store[name], equal_nan=store[name].dtype.kind == "f")
        assert {name for name in archive.files if name.startswith("curves/")} == {f"curves/{n}" for n in store.curves()}


def test_table_has_a_line_a_row(files: Any, call: Any, tmp_path: Path) -> None:
    assert call("store", "export", "csv", files.scores, "-o", tmp_path / "x.csv").code == 0
    with (tmp_path / "x.csv").open(newline="") as text, xaicli.open_store(files.scores) as store:
        rows = list(csv.DictReader(text))
        assert len(rows) == len(store) == 12
        assert [row["status"] for row in rows] == ["ok"] * 12
        assert [int(row["index"]) for row in rows] == store["index"].tolist()
        assert [row["key"] for row in rows] == store["key"].tolist()
        values = np.array([row["sources/0/accuracy"] for row in rows], np.float32)
        assert np.array_equal(values, store["sources/0/accuracy"])


@pytest.mark.parametrize("inputs", [[], ["--save-inputs"]])
def test_virelay_opens_the_project(inputs: list[str], files: Any, call: Any, tmp_path: Path) -> None:
    maps = tmp_path / "maps.h5"
    call("explain", files.checkpoint, "-m", "saliency", "-n", "12", *inputs, "-o", maps)
    said = call("store", "export", "virelay", maps, "-o", tmp_path / "project", "--parent", files.checkpoint)
    assert said.record["path"] == str(tmp_path / "project" / "project.yaml")
    digits = xaicli_digits()
    project = model.Project(said.record["path"])
    try:
        assert (project.name, project.attribution_method) == ("maps", "saliency")
        with xaicli.open_store(maps) as store:
            for row, index in enumerate(store["index"].tolist()):
                found, sample = project.get_attribution(index), project.get_sample(index)
                assert np.array_equal(found.data, np.moveaxis(store["attribution"][row], 0, -1))
                assert np.array_equal(sample.data, np.moveaxis(digits.read([index]).pixels[0], 0, -1))
                assert sample.labels[0].index == store["label"][row]
    finally:
        project.close()


def xaicli_digits() -> Any:
    from xaicli.data.open import open_data

    return open_data("digits:test")


def test_what_cannot_be_exported(files: Any, call: Any, tmp_path: Path) -> None:
    assert call("store", "export", "virelay", files.scores, "-o", tmp_path / "p").code == 2
    assert call("store", "export", "parquet", files.scores).code == 2
    assert call("store", "export", "csv", files.checkpoint, "-o", tmp_path / "x.csv").code == 65
    assert call("store", "export", "csv", tmp_path / "none.h5").code == 66
    (tmp_path / "x.csv").write_text("mine")
    assert call("store", "export", "csv", files.scores, "-o", tmp_path / "x.csv").code == 73
    assert (tmp_path / "x.csv").read_text() == "mine"
