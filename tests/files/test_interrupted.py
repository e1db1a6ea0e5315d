"""What no exception handler sees: killed processes and full disks, in processes of their own."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys

import pytest

from xaicli.files.parts import parts_folder
from xaicli.files.store import open_store
from xaicli.files.writer import StoreWriter

SCRIPT = """
import os, pickle, resource, signal, sys
import h5py  # whose own files, made at import, are not to count
from xaicli.errors import XaicliError
from xaicli.files.hdf5 import Output
from xaicli.files.writer import StoreWriter

path, layout, blocks, kill_after, limit = pickle.load(sys.stdin.buffer)
chunks = 0
write_chunk = Output.write_chunk

def counted(self, *arguments):
    global chunks
    chunks += 1
    if chunks == kill_after:
        os.kill(os.getpid(), signal.SIGKILL)
    write_chunk(self, *arguments)

Output.write_chunk = counted
if limit is not None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with StoreWriter(path, layout, segment_bytes=1) as writer:
        for block, (rows, sums) in blocks.items():
            if block not in writer.done:
                writer.write(block, rows, sums)
        writer.finish().close()
except XaicliError as error:
    print(error, end="")
    sys.exit(error.exit_code)
"""


def run(example, path, *, kill_after=None, limit=None):
    blocks = {block: (example.rows(block), example.sums(block)) for block in range(example.layout.blocks)}
    task = pickle.dumps((str(path), example.layout, blocks, kill_after, limit))
    return subprocess.run([sys.executable, "-c", SCRIPT], input=task, capture_output=True)


@pytest.fixture
def expected(example, tmp_path, sha256):
    with StoreWriter(tmp_path / "uninterrupted.h5", example.layout) as writer:
        example.write(writer, range(4))
        writer.finish().close()
    return sha256(tmp_path / "uninterrupted.h5")


@pytest.mark.command
@pytest.mark.parametrize("kill_after", [1, 11, 12, 25, 44, 45, 60, 87, 88])
def test_killed_writer_leaves_only_what_the_next_one_can_use(example, tmp_path, sha256, expected, kill_after):
    """A block is eleven chunks and its own segment; from chunk 45 on they are merged."""
    path = tmp_path / "a.h5"
    assert run(example, path, kill_after=kill_after).returncode == -signal.SIGKILL
    assert not path.exists()
    left = [*parts_folder(path).iterdir(), *tmp_path.glob(".a.h5.*")]
    assert len([entry for entry in left if entry.suffix == ".tmp"]) == 1
    with StoreWriter(path, example.layout) as writer:
        assert writer.done == set(range(min((kill_after - 1) // 11, 4)))
        assert not [entry for entry in parts_folder(path).iterdir() if entry.suffix == ".tmp"]
        example.write(writer, set(range(4)) - writer.done)
        writer.finish().close()
    assert sha256(path) == expected
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.h5", "uninterrupted.h5"]


@pytest.mark.command
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_full_disk_ends_with_74_and_keeps_what_was_published(example, tmp_path, sha256, expected, share):
    """A limit on the size of files stands in for the disk; shares of a segment, then of the merged file."""
    example.with_layout(job={"earlier": 1}).store(tmp_path / "b.h5").close()
    earlier = (tmp_path / "b.h5").read_bytes()
    with StoreWriter(tmp_path / "c.h5", example.layout, segment_bytes=1) as writer:
        example.write(writer, [0])
    segment = next(parts_folder(tmp_path / "c.h5").iterdir()).stat().st_size
    merged = (tmp_path / "uninterrupted.h5").stat().st_size
    result = run(example, tmp_path / "a.h5", limit=int(share * segment))
    assert (result.returncode, result.stderr) == (74, b"")
    assert b"File too large" in result.stdout
    assert not (tmp_path / "a.h5").exists()
    assert list(parts_folder(tmp_path / "a.h5").iterdir()) == []

    with StoreWriter(tmp_path / "a.h5", example.layout) as writer:
        example.write(writer, range(4))
    result = run(example, tmp_path / "a.h5", limit=int(share * merged))
    assert (result.returncode, result.stderr) == (74, b"")
    assert not (tmp_path / "a.h5").exists()
    assert len(list(parts_folder(tmp_path / "a.h5").iterdir())) == 1
    assert not list(tmp_path.glob(".*"))

    assert run(example, tmp_path / "a.h5").returncode == 0
    assert sha256(tmp_path / "a.h5") == expected
    assert (tmp_path / "b.h5").read_bytes() == earlier


@pytest.mark.command
def test_full_disk_under_a_large_store_stops_at_once(example, tmp_path):
    """Chunks are checked one by one, so a failure half-way does not wait for the end of the file."""
    path = tmp_path / "a.h5"
    with StoreWriter(path, example.layout) as writer:
        example.write(writer, range(4))
    result = run(example, path, limit=0)
    assert result.returncode == 74
    assert str(path).encode() in result.stdout
    with StoreWriter(path, example.layout) as writer, writer.finish() as store:
        store.verify()
    open_store(path).close()
