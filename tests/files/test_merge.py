"""The merged file is the same, byte for byte, however its blocks came together."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xaicli.errors import ExistsError, InputError
from xaicli.files import merge
from xaicli.files.columns import attribution_columns
from xaicli.files.merge import merge_parts
from xaicli.files.parts import list_ranges, parts_folder
from xaicli.files.store import open_store
from xaicli.files.writer import StoreWriter

ONE_SEGMENT = [[0, 1, 2, 3]]


def written(example, path, cuts):
    """The store's path, each list of `cuts` being written by a writer of its own, as after an interruption."""
    for cut in cuts:
        with StoreWriter(path, example.layout) as writer:
            example.write(writer, cut)
    StoreWriter(path, example.layout).finish(example.summarise).close()
    return path


@pytest.mark.parametrize(
    "cuts",
    [
        [[0], [1], [2], [3]],
        [[3], [2], [1], [0]],
        [[3, 2, 1, 0]],
        [[1, 3], [0, 2]],
        [[2], [0, 3], [1]],
        [[0, 1], [1, 2], [2, 3], [0, 3]],
    ],
)
def test_bytes_do_not_depend_on_the_cut(example, tmp_path, sha256, cuts):
    expected = sha256(written(example, tmp_path / "one.h5", ONE_SEGMENT))
    assert sha256(written(example, tmp_path / "cut.h5", cuts)) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.h5", "one.h5"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 400), st.data())
def test_bytes_do_not_depend_on_any_history(example, sha256, rows, block, width, data):
    """Maps of 3 x 40 x width float32 reach past 1 MiB a block, so that chunks are cut as well."""
    columns = attribution_columns(shape=(3, 40, width), classes=3, key_length=4, completeness=True)
    example = example.with_layout(rows=rows, block=block, columns=columns)
    order = data.draw(st.permutations(range(example.layout.blocks)))
    cuts = np.split(np.array(order), sorted(data.draw(st.sets(st.integers(0, len(order)), max_size=4))))
    with TemporaryDirectory() as folder:
        expected = sha256(written(example, Path(folder) / "one.h5", [range(example.layout.blocks)]))
        assert sha256(written(example, Path(folder) / "cut.h5", [cut.tolist() for cut in cuts])) == expected
        with open_store(Path(folder) / "one.h5") as store:
            store.verify()


def test_bytes_do_not_depend_on_the_process(example, tmp_path, sha256):
    """Nothing of memory, time or hash seed is in the file: a fresh interpreter writes the same."""
    expected = sha256(written(example, tmp_path / "here.h5", ONE_SEGMENT))
    script = (
        "import sys, pickle\n"
        "from xaicli.files.writer import StoreWriter\n"
        "layout, blocks = pickle.load(sys.stdin.buffer)\n"
        "with StoreWriter(sys.argv[1], layout) as writer:\n"
        "    for number, (rows, sums) in enumerate(blocks):\n"
        "        writer.write(number, rows, sums)\n"
    )
    blocks = [(example.rows(block), example.sums(block)) for block in range(example.layout.blocks)]
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "there.h5"], input=pickle.dumps((example.layout, blocks)), check=True
    )
    assert sha256(written(example, tmp_path / "there.h5", [])) == expected


def test_segments_alone_are_enough_to_merge(example, tmp_path, sha256):
    expected = sha256(written(example, tmp_path / "one.h5", ONE_SEGMENT))
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, [2, 1, 0, 3])
    merge_parts(tmp_path / "a.h5", summarise=example.summarise)
    assert sha256(tmp_path / "a.h5") == expected


def test_few_open_files_are_enough(example, tmp_path, sha256, monkeypatch):
    expected = sha256(written(example, tmp_path / "one.h5", ONE_SEGMENT))
    monkeypatch.setattr(merge, "_OPEN_SEGMENTS", 1)
    assert sha256(written(example, tmp_path / "cut.h5", [[3, 1], [0, 2]])) == expected


def test_merged_file_is_fixed_and_segments_are_resizable(example, tmp_path):
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, [0, 1, 2, 3])
        writer.flush()
        with h5py.File(next(parts_folder(tmp_path / "a.h5").iterdir())) as file:
            assert file["attribution"].maxshape == (None, 1, 4, 4)
        writer.finish().close()
    with h5py.File(tmp_path / "a.h5") as file:
        for name in ("attribution", "key", "status"):
            assert file[name].maxshape == file[name].shape
            assert file[name].shape[0] == 13
            assert file[name].chunks[0] == 4
            assert file[name].compression is None


def test_gaps_are_refused_and_listed(example, tmp_path):
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, [1])
    with pytest.raises(InputError, match=r"3 of 4 blocks of '.*a\.h5' are missing \(0, 2-3\)"):
        StoreWriter(tmp_path / "a.h5", example.layout).finish()
    assert len(list(parts_folder(tmp_path / "a.h5").iterdir())) == 1
    assert not (tmp_path / "a.h5").exists()


def test_nothing_to_merge_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no finished block"):
        merge_parts(tmp_path / "a.h5")


def test_long_lists_of_gaps_are_cut():
    assert list_ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert list_ranges(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14 and 12 more ranges"


def test_block_computed_twice_alike_is_fine_and_differently_is_not(example, tmp_path):
    path = tmp_path / "a.h5"
    with StoreWriter(path, example.layout) as first:
        second = StoreWriter(path, example.layout)  # neither knows of the other's blocks
        example.write(first, [0, 1])
        example.write(second, [1, 2])
        second.flush()
    assert StoreWriter(path, example.layout).done == {0, 1, 2}
    rows = example.rows(0)
    rows["attribution"] = np.nextafter(rows["attribution"], np.float32(9))
    second.write(0, rows, example.sums(0))
    second.flush()
    with pytest.raises(InputError, match="block 0 differs between"):
        StoreWriter(path, example.layout)


def test_sums_that_differ_are_different_results_too(example, tmp_path):
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, [0])
        with pytest.raises(InputError, match=r"block 0 .* twice with different results"):
            writer.write(0, example.rows(0), {"deletion": example.sums(0)["deletion"] + 1})


def test_another_job_in_the_way_is_refused_unless_forced(example, tmp_path):
    other = example.with_layout(job={"verb": "explain", "method": "other"})
    with StoreWriter(tmp_path / "a.h5", other.layout) as writer:
        example.write(writer, [0, 1])
    with pytest.raises(ExistsError, match="parts of another job"):
        StoreWriter(tmp_path / "a.h5", example.layout)
    assert StoreWriter(tmp_path / "a.h5", other.layout).done == {0, 1}
    assert StoreWriter(tmp_path / "a.h5", example.layout, force=True).done == set()
    assert StoreWriter(tmp_path / "a.h5", other.layout).done == set()


def test_two_jobs_among_the_parts_are_not_merged(example, tmp_path):
    for method in "ab":
        layout = example.with_layout(job={"method": method}).layout
        with StoreWriter(tmp_path / f"{method}.h5", layout) as writer:
            example.write(writer, range(4))
    for segment in parts_folder(tmp_path / "b.h5").iterdir():
        segment.rename(parts_folder(tmp_path / "a.h5") / segment.name)
    with pytest.raises(ExistsError, match="another job"):
        merge_parts(tmp_path / "a.h5")


def test_damaged_segment_is_computed_again(example, tmp_path, sha256):
    expected = sha256(written(example, tmp_path / "one.h5", ONE_SEGMENT))
    path = tmp_path / "a.h5"
    for position in (40, 2000, -700, -1):  # superblock, structure and rows: anything
        for cut in ([0, 1], [2, 3]):
            with StoreWriter(path, example.layout) as writer:
                example.write(writer, cut)
        segment = min(parts_folder(path).iterdir())
        data = bytearray(segment.read_bytes())
        data[position] ^= 255
        segment.write_bytes(data)
        writer = StoreWriter(path, example.layout)
        assert writer.done in ({2, 3}, {0, 1, 2, 3})  # the latter where the byte means nothing
        example.write(writer, set(range(4)) - writer.done)
        writer.finish(example.summarise).close()
        assert sha256(path) == expected
        path.unlink()


def test_damage_in_rows_is_noticed_when_resuming_and_when_merging(example, tmp_path):
    path = tmp_path / "a.h5"
    with StoreWriter(path, example.layout) as writer:
        example.write(writer, range(4))
    segment = next(parts_folder(path).iterdir())
    data = segment.read_bytes()
    row = np.ascontiguousarray(example.rows(2)["attribution"]).tobytes()
    assert data.count(row) == 1
    segment.write_bytes(data.replace(row, row[:-1] + bytes([row[-1] ^ 1])))
    with pytest.raises(InputError, match=r"block 2 in .* is damaged"):
        merge_parts(path)
    assert not path.exists()
    assert StoreWriter(path, example.layout, own=[]).done == {0, 1, 2, 3}  # not this process's to check
    assert StoreWriter(path, example.layout, own=[1]).done == set()
    assert list(parts_folder(path).iterdir()) == []


def test_files_of_others_among_the_parts_stay(example, tmp_path):
    path = tmp_path / "a.h5"
    parts_folder(path).mkdir()
    (parts_folder(path) / "notes.txt").write_text("mine")
    written(example, path, ONE_SEGMENT)
    assert [entry.name for entry in parts_folder(path).iterdir()] == ["notes.txt"]


def test_curves_are_means_over_all_rows_in_the_order_of_blocks(example, tmp_path):
    """Block b contributes (0.1 b, 0.2, 1/3) and its row count: the sums over four blocks, over 13 rows."""
    with open_store(written(example, tmp_path / "a.h5", [[3], [0, 2], [1]])) as store:
        assert store.curves().keys() == {"deletion"}
        expected = [
            (0.0 + 0.1 + 0.2 + 0.1 * 3) / 13,
            (0.2 + 0.2 + 0.2 + 0.2) / 13,
            (1 / 3 + 1 / 3 + 1 / 3 + 1 / 3) / 13,
        ]
        assert store.curves()["deletion"].tolist() == expected
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["curves/deletion"].attrs["rows"] == 13


def test_curve_that_no_row_has_is_nan(example, tmp_path):
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        for block in range(4):
            writer.write(block, example.rows(block), {"deletion": np.zeros(4)})
        with writer.finish() as store:
            assert np.isnan(store.curves()["deletion"]).all()


def test_aggregates_come_from_the_merged_rows(example, tmp_path):
    gap = np.concatenate([example.rows(block)["completeness"] for block in range(4)]).astype(np.float64)
    with open_store(written(example, tmp_path / "a.h5", ONE_SEGMENT)) as store:
        assert store.aggregates()["gap"].tolist() == [gap.mean(), gap.std()]
        assert store.aggregates()["note"] == '{"n":13}'


@pytest.mark.parametrize(
    ("summaries", "reason"),
    [
        ({"label": np.zeros(1)}, "aggregates/<name>"),
        ({"aggregates/a": np.array(["text"])}, "few numbers"),
        ({"aggregates/a": np.array([{}])}, "few numbers"),
        ({"aggregates/a": np.zeros((64 << 17) + 1)}, "few numbers"),
    ],
)
def test_aggregate_that_no_reader_would_accept_is_a_mistake(example, tmp_path, summaries, reason):
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, range(4))
        with pytest.raises(ValueError, match=reason):
            writer.finish(lambda rows: summaries)
    assert not (tmp_path / "a.h5").exists()


def test_any_numbers_are_aggregates(example, tmp_path):
    given = {"a": np.array(0.5), "b": np.zeros((0, 3)), "c": np.array([[True, False]]), "d": np.arange(3, dtype="i2")}
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, range(4))
        with writer.finish(lambda rows: {f"aggregates/{name}": value for name, value in given.items()}) as store:
            found = store.aggregates()
    assert {name: (np.shape(value), value.dtype, value.tolist()) for name, value in found.items()} == {
        name: (value.shape, value.dtype, value.tolist()) for name, value in given.items()
    }
