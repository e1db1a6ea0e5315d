"""What differs between two artifacts: jobs, and the values of every part."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xaicli.errors import InputError
from xaicli.files.checkpoint import read_checkpoint, write_checkpoint
from xaicli.files.difference import compare


@pytest.fixture
def changed(files: Any, tmp_path: Path) -> Path:
    """The checkpoint with two weights of its first tensor moved by 0.5 and 0.25."""
    checkpoint = read_checkpoint(files.checkpoint)
    tensors = {name: tensor.copy() for name, tensor in checkpoint.tensors.items()}
    name = sorted(name for name, tensor in tensors.items() if tensor.dtype == np.float32 and tensor.size > 2)[0]
    flat = tensors[name].reshape(-1)
    flat[0] += np.float32(0.5)
    flat[1] -= np.float32(0.25)
    write_checkpoint(tmp_path / f"{name}.safetensors", tensors, checkpoint.meta)
    return tmp_path / f"{name}.safetensors"


def test_equal_files_have_no_differences(files: Any, tmp_path: Path) -> None:
    for path in (files.checkpoint, files.images, files.maps, files.scores):
        shutil.copy(path, tmp_path / path.name)
        assert compare(path, tmp_path / path.name, 0.0) == []


def test_values_are_counted_and_the_largest_gap_named(files: Any, changed: Path) -> None:
    (difference,) = compare(files.checkpoint, changed, 0.0)
    assert (difference["part"], difference["values"]) == (changed.stem, 2)
    assert difference["largest"] == pytest.approx(0.5, abs=1e-6)
    (difference,) = compare(files.checkpoint, changed, 0.3)
    assert difference["values"] == 1
    assert compare(files.checkpoint, changed, 0.6) == []


def test_jobs_are_compared(files: Any, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(files.checkpoint)
    job = {**checkpoint.meta.job, "seed": 9}
    from xaicli.files.canonical import digest_json

    path = tmp_path / "m.safetensors"
    write_checkpoint(path, checkpoint.tensors, replace(checkpoint.meta, job=job, job_id=digest_json(job)))
    assert compare(files.checkpoint, path, 0.0) == [{"part": "job.seed", "first": 0, "second": 9}]


def test_rows_and_columns(files: Any, tmp_path: Path, call: Any) -> None:
    other = tmp_path / "other.h5"
    call("explain", files.checkpoint, "-m", "saliency", "-n", "12", "--batch-size", "4", "--seed", "1", "-o", other)
    assert compare(files.maps, other, 0.0) == [{"part": "job.seed", "first": 0, "second": 1}]
    call("explain", files.checkpoint, "-m", "edges", "-n", "12", "--batch-size", "4", "-o", other, "--force")
    found = {entry["part"]: entry for entry in compare(files.maps, other, 0.0)}
    assert {"job.method", "attribution"} <= found.keys()
    assert found["attribution"]["values"] > 0
    assert "prediction" not in found
    call("explain", files.checkpoint, "-m", "saliency", "-n", "11", "--batch-size", "4", "-o", other, "--force")
    assert compare(files.maps, other, 0.0) == [
        {
            "part": "job.selection",
            "first": {"limit": 12, "per_class": None},
            "second": {"limit": 11, "per_class": None},
        },
        {"part": "rows", "first": 12, "second": 11},
    ]


def test_files_of_two_kinds_are_not_compared(files: Any) -> None:
    with pytest.raises(InputError, match=r"is of the kind checkpoint and .* images; compare files of one kind"):
        compare(files.checkpoint, files.images, 0.0)


def test_nan_equals_nan_and_differs_from_numbers() -> None:
    from xaicli.files.difference import _compare_arrays

    a = {"x": np.array([np.nan, np.nan, 1.0, np.inf]), "name": np.array([b"a", b"b"])}
    b = {"x": np.array([np.nan, 2.0, 1.0, np.inf]), "name": np.array([b"a", b"c"])}
    assert _compare_arrays(a, b, 100.0) == [
        {"part": "name", "values": 1, "largest": None},
        {"part": "x", "values": 1, "largest": np.inf},
    ]
    assert _compare_arrays(a, {"x": a["x"][:2], "name": a["name"]}, 0) == [{"part": "x", "first": [4], "second": [2]}]
    assert _compare_arrays(a, {"x": a["x"]}, 0) == [{"part": "name", "first": True, "second": False}]
