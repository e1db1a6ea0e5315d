"""ViRelAy's own reader opens an attributions store and a uint8 images store as they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from virelay import model

from xaicli.files.columns import attack_columns, attribution_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.writer import StoreWriter


@pytest.fixture
def label_map(tmp_path):
    labels = [
        {"index": index, "word_net_id": f"n{index:08d}", "name": name} for index, name in enumerate(["ant", "bee"])
    ]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    return model.LabelMap(str(tmp_path / "labels.json"))


def write(path, kind, columns, values):
    layout = StoreLayout(kind, {"kind": kind}, (), 5, 2, columns)
    with StoreWriter(path, layout) as writer:
        for block in range(3):
            rows = {
                column.name: column.empty(layout.block_rows(block)) for column in columns if column.name != "digest"
            }
            chosen = {name: array[2 * block : 2 * block + 2] for name, array in values.items()}
            writer.write(block, rows | chosen)
        writer.finish().close()


def test_attributions_open_unchanged(tmp_path, label_map):
    random = np.random.default_rng(0)
    values = {
        "attribution": random.standard_normal((5, 3, 6, 7)).astype(np.float32),
        "prediction": random.standard_normal((5, 2)).astype(np.float32),
        "label": np.array([0, 1, 1, 0, 1]),
        "index": np.array([3, 4, 17, 20, 40]),
    }
    columns = attribution_columns(shape=(3, 6, 7), classes=2, key_length=3)
    write(tmp_path / "maps.h5", "attributions", columns, values)
    database = model.AttributionDatabase(str(tmp_path / "maps.h5"), label_map)
    assert not database.is_multi_label
    assert [database.has_attribution(index) for index in (3, 4, 5, 40)] == [True, True, False, True]
    for row, index in enumerate(values["index"].tolist()):
        found = database.get_attribution(index)
        assert found.index == index
        # ViRelAy moves the channels to the end
        assert found.data.tolist() == np.moveaxis(values["attribution"][row], 0, -1).tolist()
        assert found.prediction.tolist() == values["prediction"][row].tolist()
        assert [label.name for label in found.labels] == [["ant", "bee"][values["label"][row]]]
    database.close()


def test_images_open_unchanged(tmp_path, label_map):
    values = {
        "data": np.random.default_rng(0).integers(0, 256, (5, 3, 6, 7)).astype(np.uint8),
        "label": np.array([0, 1, 1, 0, 1]),
    }
    columns = attack_columns(shape=(3, 6, 7), classes=2, key_length=3, dtype="|u1")
    write(tmp_path / "images.h5", "images", columns, values)
    dataset = model.Hdf5Dataset("images", str(tmp_path / "images.h5"), label_map)
    assert len(dataset) == 5
    for row in range(5):
        sample = dataset[row]
        assert sample.data.dtype == np.uint8
        assert sample.data.tolist() == np.moveaxis(values["data"][row], 0, -1).tolist()
        assert sample.labels[0].name == ["ant", "bee"][values["label"][row]]
    dataset.close()
