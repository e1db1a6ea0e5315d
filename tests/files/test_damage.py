"""A damaged store is told from an intact one, wherever the damage is."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from xaicli.errors import InputError, RefusedError
from xaicli.files.store import open_store


def seen(path):
    """Everything that a reader can get out of a store, after checking all of it."""
    with open_store(path) as store:
        store.verify()
        plain = (store.id, store.kind, store.rows, store.job_id, store.job, store.history, store.attributes)
        summaries = {**store.curves(), **store.aggregates()}
        arrays = {**{name: store[name] for name in store.columns}, **summaries}
        return plain, {
            name: value if isinstance(value, str) else (value.dtype.str, value.shape, value.tobytes())
            for name, value in arrays.items()
        }


@pytest.fixture
def intact(example, tmp_path):
    example.store(tmp_path / "a.h5").close()
    return tmp_path / "a.h5"


def test_changed_byte_is_detected_or_means_nothing(intact, tmp_path):
    """Most of a small file are unused entries of HDF5's tables, so the bytes in use get a share of their own."""
    generator = random.Random(20240501)
    data, expected = intact.read_bytes(), seen(intact)
    used = [position for position, byte in enumerate(data) if byte]
    positions = generator.choices(range(len(data)), k=150) + generator.choices(used, k=250)
    detected = 0
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= generator.randrange(1, 256)
        (tmp_path / "damaged.h5").write_bytes(damaged)
        try:
            found = seen(tmp_path / "damaged.h5")
        except (InputError, RefusedError):
            detected += 1
        else:
            assert found == expected, f"byte {position}: {data[position]} became {damaged[position]} unnoticed"
    assert detected > 200


def test_every_byte_of_a_row_is_covered(example, intact, tmp_path):
    data = intact.read_bytes()
    row = example.rows(1)["attribution"][2].tobytes()
    start = data.index(row)
    for position in range(start, start + len(row)):
        (tmp_path / "damaged.h5").write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(InputError, match=r"row 6 \(key 'é6'\)"):
            seen(tmp_path / "damaged.h5")


def test_truncated_file_is_detected(intact, tmp_path):
    data = intact.read_bytes()
    generator = random.Random(1)
    for length in [0, 1, 7, 8, 95, len(data) - 1, *generator.sample(range(len(data)), 20)]:
        (tmp_path / "short.h5").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"short\.h5"):
            open_store(tmp_path / "short.h5")


def test_bytes_after_the_end_mean_nothing(intact, tmp_path):
    (tmp_path / "long.h5").write_bytes(intact.read_bytes() + bytes(100))
    assert seen(tmp_path / "long.h5") == seen(intact)


@pytest.mark.command
@pytest.mark.parametrize("kind", ["checkpoint", "images", "maps", "scores"])
def test_no_flipped_byte_goes_unnoticed_crashes_or_hangs(files, kind):
    """A small share of what `python -m tests.files.flips` does by hand."""
    command = [sys.executable, "-m", "tests.files.flips", "--count", "60", "--seed", "7", str(getattr(files, kind))]
    said = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=300)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "'found'" in said.stdout and "'wrong'" not in said.stdout
