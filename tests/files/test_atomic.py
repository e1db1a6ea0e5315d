from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from xaicli.errors import InputError, OutputError
from xaicli.files.atomic import publish, sweep


def test_file_appears_complete_and_alone(tmp_path):
    with publish(tmp_path / "new" / "a.bin") as file:
        file.write(b"one")
        assert not (tmp_path / "new" / "a.bin").exists()
        file.seek(0)
        assert file.read() == b"one"
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "new").iterdir()] == [("a.bin", b"one")]


def test_permissions_follow_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        with publish(tmp_path / "a.bin") as file:
            file.write(b"one")
    finally:
        os.umask(previous)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), InputError("wrong.")])
def test_exception_leaves_the_earlier_file_and_nothing_else(tmp_path, error):
    (tmp_path / "a.bin").write_bytes(b"earlier")
    with pytest.raises(type(error)), publish(tmp_path / "a.bin") as file:
        file.write(b"later")
        raise error
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"earlier")]


def test_full_disk_is_an_output_error_that_names_path_and_reason(tmp_path):
    with pytest.raises(OutputError, match=r"a\.bin.*No space left on device"), publish(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_failure_of_the_last_bytes_is_reported(tmp_path):
    """What is buffered until the end fails in the flush that `publish` does itself: /dev/full is a full disk."""
    (tmp_path / "a.bin").write_bytes(b"earlier")
    with pytest.raises(OutputError, match="No space left"), publish(tmp_path / "a.bin") as file:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, file.fileno())
        os.close(full)
        file.write(b"few bytes")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"earlier")]


def test_folder_in_the_way_is_an_output_error(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OutputError, match=r"a\.bin"), publish(tmp_path / "a.bin") as file:
        file.write(b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_file_where_a_folder_is_needed_is_an_output_error(tmp_path):
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(OutputError, match="folder"), publish(tmp_path / "folder" / "a.bin"):
        pass


def test_longest_name_is_still_possible(tmp_path):
    name = "é" * 127
    with publish(tmp_path / name) as file:
        file.write(b"one")
    assert (tmp_path / name).read_bytes() == b"one"


def test_sweep_removes_the_files_of_the_dead_and_not_of_the_living(tmp_path):
    script = (
        "import sys, time\n"
        "from xaicli.files.atomic import publish\n"
        "with publish(sys.argv[1]) as file:\n"
        "    print('open', flush=True)\n"
        "    time.sleep(60)\n"
    )
    killed, living = (
        subprocess.Popen([sys.executable, "-c", script, tmp_path / "a.bin"], stdout=subprocess.PIPE) for _ in range(2)
    )
    (tmp_path / ".other.bin.123456.tmp").write_bytes(b"of another file")
    for process in (killed, living):
        assert process.stdout.readline() == b"open\n"
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.glob(".a.bin.*.tmp"))) == 2
    sweep(tmp_path / "a.bin")
    assert len(list(tmp_path.glob(".a.bin.*.tmp"))) == 1
    living.kill()
    living.communicate()
    sweep(tmp_path / "a.bin")
    assert [path.name for path in tmp_path.iterdir()] == [".other.bin.123456.tmp"]


def test_file_swept_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    """The sweep may come between creating and locking; the writer then notices and starts anew."""
    import fcntl

    calls = []

    def lock_after_sweep(file, operation):
        calls.append(file)
        if len(calls) == 1:
            for path in tmp_path.iterdir():
                path.unlink()

    monkeypatch.setattr(fcntl, "flock", lock_after_sweep)
    with publish(tmp_path / "a.bin") as file:
        file.write(b"one")
    assert len(calls) == 2
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"one")]
