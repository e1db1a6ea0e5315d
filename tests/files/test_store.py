from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from xaicli.errors import InputError, MissingError, UnavailableError
from xaicli.files.columns import Column, base_columns, score_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.rows import RowReader
from xaicli.files.store import open_store
from xaicli.files.writer import StoreWriter


@pytest.fixture
def path(example, tmp_path):
    example.store(tmp_path / "a.h5").close()
    return tmp_path / "a.h5"


def whole(example, name):
    return np.concatenate([np.asarray(example.rows(block)[name]) for block in range(4)])


def test_root_attributes_are_those_of_the_specification(example, path):
    with h5py.File(path) as file:
        root = dict(file.attrs)
        digests = file["digest"][()]
    content = sum(int.from_bytes(row.tobytes(), "big") for row in digests) % 2**128
    assert root.pop("axes").tolist() == ["index", ".", ".", "."]
    assert len(root.pop("header")) == 64
    assert root == {
        "xaicli_schema": 1,
        "kind": "attributions",
        "job": '{"block":4,"method":"gradcam","verb":"explain"}',
        "job_id": hashlib.sha256(b'{"block":4,"method":"gradcam","verb":"explain"}').hexdigest(),
        "rows": 13,
        "content": f"{content:032x}",
        "history": '[{"options":{"epochs":3},"verb":"train"}]',
        "NX_class": "NXdata",
        "signal": "attribution",
        "class_names": '["ant","bee","cat"]',
    }


def test_header_covers_all_but_the_rows(path):
    """The digest recomputed from the file with h5py alone, as the documentation of the format tells it."""
    with h5py.File(path) as file:
        attributes = {
            name: value.tolist() if isinstance(value, np.ndarray) else value if isinstance(value, str) else int(value)
            for name, value in file.attrs.items()
            if name not in ("header", "job_id", "content")
        }
        groups, datasets = {}, {}

        def visit(name, item):
            own = {key: int(value) for key, value in item.attrs.items()}
            if isinstance(item, h5py.Group):
                groups[name] = own
                return
            members = h5py.check_enum_dtype(item.dtype)
            kind = [item.dtype.str, sorted(map(list, members.items()))] if members else item.dtype.str
            datasets[name] = {"type": kind, "shape": list(item.shape), "attributes": own}
            if name.split("/")[0] in ("curves", "aggregates"):
                datasets[name]["sha256"] = hashlib.sha256(np.asarray(item[()]).tobytes()).hexdigest()

        file.visititems(visit)
        covered = {"attributes": attributes, "groups": groups, "datasets": datasets}
        text = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert file.attrs["header"] == hashlib.sha256(text.encode()).hexdigest()


def test_id_is_known_without_reading_rows(path, monkeypatch):
    monkeypatch.setattr(RowReader, "read", None)
    with open_store(path) as store, h5py.File(path) as file:
        text = file.attrs["job_id"] + file.attrs["header"] + file.attrs["content"]
        assert store.id == hashlib.sha256(text.encode()).hexdigest()
        assert store.job == {"verb": "explain", "method": "gradcam", "block": 4}


def test_what_a_store_tells_of_itself(example, path):
    with open_store(path) as store:
        assert (store.path, store.kind, store.rows, len(store)) == (path, "attributions", 13, 13)
        assert store.job_id == example.layout.job_id
        assert store.history == ({"verb": "train", "options": {"epochs": 3}},)
        assert store.attributes == {"class_names": ["ant", "bee", "cat"]}
        assert store.columns == tuple(sorted(column.name for column in example.layout.columns))
        assert repr(store) == f"<Store a.h5: 13 rows of attributions, id {store.id[:12]}>"


def test_whole_columns_come_back_exactly(example, path):
    with open_store(path) as store:
        for name in example.rows(0):
            for values in (store[name], store.column(name), store.read(slice(None), [name])[name]):
                assert values.tolist() == whole(example, name).tolist()
        assert store["attribution"].dtype == np.float32
        assert store["label"].dtype == np.uint16
        assert store["status"].dtype == np.dtype("u1")
        assert store["status"].dtype.metadata is None
        assert store["key"].dtype.kind == "U"


@pytest.mark.parametrize(
    "rows",
    [
        slice(None),
        slice(3, 9),
        slice(0, 13, 5),
        slice(9, 3, -2),
        slice(5, 5),
        np.array([0, 1, 5, 12]),
        np.array([12, 3, 3, 0]),
        np.array([-1]),
        np.arange(13) % 3 == 1,
        np.array([], dtype=np.int64),
    ],
)
def test_some_rows_come_back_exactly(example, path, rows):
    with open_store(path) as store:
        found = store.read(rows)
        assert found.keys() == set(store.columns)
        for name in example.rows(0):
            assert found[name].tolist() == whole(example, name)[rows].tolist()


def test_row_that_does_not_exist_is_an_index_error(path):
    with open_store(path) as store, pytest.raises(IndexError):
        store.read(np.array([13]))


def test_unknown_column_names_those_there_are(path):
    with open_store(path) as store:
        for ask in (store.__getitem__, store.column, lambda name: store.read(slice(1), [name])):
            with pytest.raises(InputError, match=r"no column 'maps'; choose one of against, attribution, completeness"):
                ask("maps")


def test_damaged_row_is_named_with_its_key(example, path):
    row = example.rows(1)["attribution"][2].tobytes()
    data = path.read_bytes()
    assert data.count(row) == 1
    path.write_bytes(data.replace(row, bytes([row[0] ^ 1]) + row[1:]))
    with open_store(path) as store:
        for ask in (store.verify, lambda: store["label"], lambda: store.read(slice(4, 8), ["label"])):
            with pytest.raises(InputError, match=r"row 6 \(key 'é6'\) of '.*a\.h5' is damaged"):
                ask()
        assert store.read(slice(0, 6))["index"].tolist() == [0, 1, 2, 3, 4, 5]
        assert store.column("label").tolist() == whole(example, "label").tolist()


def test_rows_exchanged_for_others_that_are_intact_are_noticed(example, path, tmp_path):
    """Every row has its digest, and still the sum tells that they are not those of this store."""
    with h5py.File(path, "r+") as file:
        for name in file:
            if isinstance(file[name], h5py.Dataset):
                file[name][0] = file[name][1]
    with open_store(path) as store:
        assert store["index"].tolist() == [1, *range(1, 13)]
        with pytest.raises(InputError, match="content digest"):
            store.verify()


def test_intact_store_verifies(path):
    with open_store(path) as store:
        store.verify()


def test_many_rows_are_read_in_batches(example, tmp_path, monkeypatch):
    monkeypatch.setattr("xaicli.files.rows._BATCH_BYTES", 1000)
    with example.store(tmp_path / "a.h5") as store:
        assert store["attribution"].tolist() == whole(example, "attribution").tolist()
        store.verify()


def test_memory_limit_holds_for_answers_and_chunks(path):
    with open_store(path, max_memory=600) as store:
        assert store.read(slice(0, 3))["index"].tolist() == [0, 1, 2]
        for ask in (lambda: store["attribution"], lambda: store.column("attribution"), lambda: store.read(slice(0, 9))):
            with pytest.raises(UnavailableError, match=r"--max-memory is 600"):
                ask()
    with pytest.raises(InputError, match=r"chunks of more than 200 bytes"):
        open_store(path, max_memory=200)


def test_scores_have_sources_with_attributes(tmp_path):
    sources = ({"id": "ab", "method": "ig", "options": {"steps": 50}}, {"id": "cd", "method": "lime", "options": {}})
    columns = score_columns([["deletion", "insertion@black"], []], key_length=1)
    layout = StoreLayout("scores", {"verb": "evaluate"}, (), 2, 2, columns, sources=sources)
    rows = {column.name: column.empty(2) for column in columns if column.name != "digest"}
    rows["sources/0/deletion"] = np.array([0.25, np.nan])
    with StoreWriter(tmp_path / "s.h5", layout) as writer:
        writer.write(0, rows)
        with writer.finish() as store:
            assert store.sources == sources
            assert store["sources/0/deletion"].tolist()[0] == 0.25
            assert np.isnan(store["sources/0/insertion@black"]).all()
            assert (store.curves(), store.aggregates()) == ({}, {})
    with h5py.File(tmp_path / "s.h5") as file:
        assert json.loads(file["sources/0"].attrs["options"]) == {"steps": 50}
        assert list(file.attrs["axes"]) == ["index"]


def test_every_type_survives(tmp_path):
    extra = [Column("features", "<f2", (2,)), Column("yes", "|b1"), Column("start", "<i8"), Column("text", "|S3", (2,))]
    layout = StoreLayout("features", {}, (), 2, 1, (*base_columns(1), *extra))
    values = {
        "features": np.array([[1, np.inf], [2, 3]], np.float16),
        "yes": np.array([True, False]),
        "start": np.array([-1, 2**62]),
        "text": np.array([["a", "é"], ["", "abc"]]),
    }
    with StoreWriter(tmp_path / "f.h5", layout) as writer:
        for block in range(2):
            rows = {column.name: column.empty(1) for column in base_columns(1) if column.name != "digest"}
            writer.write(block, rows | {name: array[block : block + 1] for name, array in values.items()})
        with writer.finish() as store:
            store.verify()
            for name, array in values.items():
                assert store[name].dtype.kind == array.dtype.kind
                assert store[name].tolist() == array.tolist()


def test_status_is_an_enum_that_viewers_can_name(path):
    with h5py.File(path) as file:
        members = {"missing": 0, "ok": 1, "non-finite": 2, "unreadable": 3, "failed": 4}
        assert h5py.check_enum_dtype(file["status"].dtype) == members
        assert file["status"].dtype == np.uint8
        assert h5py.check_string_dtype(file["key"].dtype) == ("utf-8", 4)
        assert np.isnan(file["attribution"].fillvalue)
        assert file["label"].fillvalue == 65535


def test_file_that_is_not_there_or_no_store(tmp_path, path):
    with pytest.raises(MissingError, match=r"none\.h5' does not exist"):
        open_store(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(InputError, match="is not an HDF5 file"):
        open_store(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1, 2]
    with pytest.raises(InputError, match="lacks the attribute 'xaicli_schema'"):
        open_store(tmp_path / "other.h5")


def test_newer_schema_asks_for_a_newer_program(path):
    with h5py.File(path, "r+") as file:
        file.attrs["xaicli_schema"] = 2
    with pytest.raises(InputError, match=r"schema 2.*newer xaicli"):
        open_store(path)


@pytest.mark.parametrize("name", ["job", "history", "class_names", "signal", "kind", "rows"])
def test_changed_attribute_is_noticed(path, name):
    with h5py.File(path, "r+") as file:
        value = file.attrs[name]
        file.attrs[name] = value + 1 if name == "rows" else value + " "
    with pytest.raises(InputError, match="header does not have its digest"):
        open_store(path)


@pytest.mark.parametrize("name", ["curves/deletion", "aggregates/gap"])
def test_changed_summary_is_noticed(path, name):
    with h5py.File(path, "r+") as file:
        file[name][0] += 1
    with pytest.raises(InputError, match="header does not have its digest"):
        open_store(path)


def test_changed_job_id_and_content_are_noticed(path, tmp_path):
    other = tmp_path / "b.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["job_id"] = "0" * 64
    with pytest.raises(InputError, match="job does not have its digest"):
        open_store(path)
    with h5py.File(other, "r+") as file:
        file.attrs["content"] = "0" * 32
    with open_store(other) as store, pytest.raises(InputError, match="content digest"):
        store.verify()


def test_column_too_many_or_too_few_is_noticed(path, tmp_path):
    other = tmp_path / "b.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        file["more"] = np.arange(13)
    with h5py.File(other, "r+") as file:
        del file["target"]
    for damaged in (path, other):
        with pytest.raises(InputError, match="header does not have its digest"):
            open_store(damaged)


def test_segment_is_not_taken_for_a_store(example, tmp_path):
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, range(4))
    with pytest.raises(InputError, match="part of an unfinished store"):
        open_store(next((tmp_path / "a.h5.parts").iterdir()))


def test_files_are_closed_whatever_happens(example, path, tmp_path):
    with h5py.File(path, "r+") as file:
        file.attrs["kind"] = "images"
    with pytest.raises(InputError):
        open_store(path)
    example.store(tmp_path / "b.h5").close()
    opened = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
    assert not [name for name in opened if name.startswith(str(tmp_path))]


def test_opening_is_quick(path):
    """30 ms is what `store info` can spare; the best of five counts, since this machine may be busy."""
    spent = []
    for _ in range(5):
        start = time.process_time()
        with open_store(path) as store:
            assert store.job["method"] == "gradcam"
        spent.append(time.process_time() - start)
    assert min(spent) < 0.03
