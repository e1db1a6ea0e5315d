from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from xaicli.errors import ExistsError, OutputError
from xaicli.files.parts import parts_folder
from xaicli.files.segment import read_segment
from xaicli.files.writer import StoreWriter


def segments(path):
    return sorted(entry.name for entry in parts_folder(path).glob("[!.]*"))


def test_no_segment_is_seen_before_it_is_due(example, tmp_path):
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        assert list(tmp_path.iterdir()) == []
        example.write(writer, [0, 2])
        assert segments(tmp_path / "a.h5") == []
        assert [entry.suffix for entry in parts_folder(tmp_path / "a.h5").iterdir()] == [".tmp"]
        assert writer.done == {0, 2}
        assert writer.held_bytes == 8 * (8 + 2 + 1 + 4 + 16 + 16 + 2 + 2 + 12 + 4 + 64) + 2 * 4 * 8
    name = segments(tmp_path / "a.h5")
    assert len(name) == 1
    assert name[0].startswith(f"{example.layout.job_id[:12]}-00000000-")


def test_blocks_in_any_order_make_ascending_segments(example, tmp_path):
    path = tmp_path / "a.h5"
    with StoreWriter(path, example.layout) as writer:
        example.write(writer, [2, 3, 0, 1])
    assert [read_segment(entry).numbers for entry in sorted(parts_folder(path).iterdir())] == [(0, 1), (2, 3)]


def test_segment_is_published_when_enough_is_held(example, tmp_path):
    writer = StoreWriter(tmp_path / "a.h5", example.layout, segment_bytes=1100)
    example.write(writer, [0])
    assert (len(segments(tmp_path / "a.h5")), writer.held_bytes) == (0, 556)
    example.write(writer, [1])
    assert (len(segments(tmp_path / "a.h5")), writer.held_bytes) == (1, 0)


def test_segment_is_published_when_time_has_passed(example, tmp_path):
    now = [100.0]
    writer = StoreWriter(tmp_path / "a.h5", example.layout, clock=lambda: now[0])
    counts = []
    for block, moment in enumerate([399.0, 400.0, 699.0, 701.0]):
        now[0] = moment
        example.write(writer, [block])
        counts.append(len(segments(tmp_path / "a.h5")))
    assert counts == [0, 1, 1, 2]


def test_work_is_kept_when_a_later_block_fails(example, tmp_path):
    with pytest.raises(RuntimeError, match="method"), StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, [1])
        raise RuntimeError("method")
    assert StoreWriter(tmp_path / "a.h5", example.layout).done == {1}


def test_second_interrupt_leaves_at_once(example, tmp_path):
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, [1])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_arrays_may_be_reused_by_the_caller(example, tmp_path):
    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        for block in range(4):
            rows, sums = example.rows(block), example.sums(block)
            writer.write(block, rows, sums)
            rows["attribution"][:] = 0
            sums["deletion"][:] = 0
        with writer.finish() as store:
            assert store["attribution"][:4].tolist() == example.rows(0)["attribution"].tolist()


def test_finished_store_has_nothing_left_to_do(example, tmp_path, sha256):
    example.store(tmp_path / "a.h5").close()
    before = sha256(tmp_path / "a.h5")
    writer = StoreWriter(tmp_path / "a.h5", example.layout)
    assert writer.done == {0, 1, 2, 3}
    with writer.finish() as store:
        assert store.job_id == example.layout.job_id
    assert sha256(tmp_path / "a.h5") == before


def test_parts_left_by_a_kill_after_the_rename_are_tidied(example, tmp_path):
    path = tmp_path / "a.h5"
    with StoreWriter(path, example.layout) as writer:
        example.write(writer, range(4))
    kept = {part.name: part.read_bytes() for part in parts_folder(path).iterdir()}
    StoreWriter(path, example.layout).finish().close()
    parts_folder(path).mkdir()
    for name, data in kept.items():
        (parts_folder(path) / name).write_bytes(data)
    StoreWriter(path, example.layout).finish().close()
    assert list(tmp_path.iterdir()) == [path]


def test_finished_store_is_computed_again_when_forced(example, tmp_path):
    example.store(tmp_path / "a.h5").close()
    assert StoreWriter(tmp_path / "a.h5", example.layout, force=True).done == set()


@pytest.mark.parametrize("content", [b"", b"notes", None])
def test_something_else_under_the_name_is_refused_unless_forced(example, tmp_path, content):
    path = tmp_path / "a.h5"
    if content is None:
        example.with_layout(job={"other": 1}).store(path).close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ExistsError, match=r"a\.h5"):
        StoreWriter(path, example.layout)
    assert path.read_bytes() == before
    with StoreWriter(path, example.layout, force=True) as writer:
        example.write(writer, range(4))
        assert path.read_bytes() == before
        with writer.finish() as store:
            assert store.job_id == example.layout.job_id


def test_folder_under_the_name_is_refused(example, tmp_path):
    (tmp_path / "a.h5").mkdir()
    with pytest.raises(ExistsError, match=r"a\.h5"):
        StoreWriter(tmp_path / "a.h5", example.layout)


@pytest.mark.parametrize("name", ["a.h5.parts", "folder"])
def test_file_where_a_folder_is_needed_is_refused_before_any_work(example, tmp_path, name):
    (tmp_path / name).write_text("a file")
    path = tmp_path / "a.h5" if name == "a.h5.parts" else tmp_path / "folder" / "a.h5"
    with pytest.raises(ExistsError, match=r"a\.h5\.parts' is no folder"):
        StoreWriter(path, example.layout)


def test_folder_that_cannot_be_written_is_an_output_error(example, tmp_path, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    writer = StoreWriter(tmp_path / "a.h5", example.layout, segment_bytes=1)
    monkeypatch.setattr(Path, "mkdir", deny)
    with pytest.raises(OutputError, match=r"a\.h5\.parts.*Permission denied"):
        example.write(writer, [0])


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "curve", "curve shape", "block"])
def test_results_of_another_layout_are_a_mistake(example, tmp_path, change):
    rows, sums, block = example.rows(0), example.sums(0), 0
    if change == "missing":
        del rows["target"]
    elif change == "unknown":
        rows["digest"] = np.zeros((4, 16))
    elif change == "shape":
        rows["attribution"] = rows["attribution"][:3]
    elif change == "curve":
        sums = {}
    elif change == "curve shape":
        sums = {"deletion": np.zeros(3)}
    else:
        block = 4
    with pytest.raises(ValueError, match=r"target|digest|attribution|deletion|block"):
        StoreWriter(tmp_path / "a.h5", example.layout).write(block, rows, sums)


def test_disk_that_fails_behind_the_writing_is_an_output_error(example, tmp_path, monkeypatch):
    """The system reports a failed write once; whoever asks first has to tell."""

    def fail(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("xaicli.files.hdf5.SYNC_BYTES", 1)
    monkeypatch.setattr(os, "fdatasync", fail)
    writer = StoreWriter(tmp_path / "a.h5", example.layout)
    with pytest.raises(OutputError, match="Input/output error"):
        example.write(writer, range(4))
        writer.flush()
    assert segments(tmp_path / "a.h5") == []
