"""`xaicli store info|verify|diff`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest


def test_info_of_a_store(files: Any, call: Any) -> None:
    record = call("store", "info", files.maps).record
    made = files.records["attributions"]
    assert (record["kind"], record["artifact"], record["id"], record["rows"]) == (
        "info",
        "attributions",
        made["id"],
        12,
    )
    assert (record["verb"], record["method"]) == ("explain", "saliency")
    assert record["parents"]["checkpoint"] == files.records["checkpoint"]["id"]
    assert record["columns"]["attribution"] == [12, 1, 32, 32]
    assert record["history"] == ["train", "explain"]


def test_info_of_a_checkpoint(files: Any, call: Any) -> None:
    record = call("store", "info", files.checkpoint).record
    assert (record["artifact"], record["arch"], record["shape"]) == ("checkpoint", "cnn", [1, 32, 32])
    assert record["classes"] == [str(digit) for digit in range(10)]
    assert record["metrics"] == files.records["checkpoint"]["metrics"]


def test_info_names_no_path_but_the_one_given(files: Any, call: Any, here: Path) -> None:
    shutil.copy(files.images, "x.h5")
    said = call("store", "info", "x.h5")
    assert said.record["path"] == "x.h5"
    assert str(files.images.parent) not in said.out


def test_verify_says_so_of_every_file(files: Any, call: Any) -> None:
    said = call("store", "verify", files.checkpoint, files.images, files.maps, files.scores)
    assert said.code == 0
    kinds = ["checkpoint", "images", "attributions", "scores"]
    assert [(r["kind"], r["artifact"], r["ok"]) for r in said.records] == [("check", kind, True) for kind in kinds]
    assert [record["id"] for record in said.records] == [files.records[kind]["id"] for kind in kinds]


@pytest.mark.parametrize("where", [0.01, 0.1, 0.35, 0.6, 0.85, 0.999])
def test_a_flipped_bit_in_a_checkpoint_is_65(where: float, files: Any, call: Any, here: Path) -> None:
    content = bytearray(files.checkpoint.read_bytes())
    content[int(where * len(content))] ^= 1
    (here / "x").write_bytes(content)
    said = call("store", "verify", files.images, "x")
    assert said.code == 65
    assert said.err.count("\n") == 1
    assert len(said.records) == 1, "what was verified before is said"


@pytest.mark.parametrize("name", ["images", "maps", "scores"])
def test_a_flipped_bit_in_any_column_or_attribute_of_a_store_is_65(
    name: str, files: Any, call: Any, here: Path
) -> None:
    content = getattr(files, name).read_bytes()
    with h5py.File(getattr(files, name)) as file:
        places = {}
        file.visititems(lambda key, item: places.update({key: _offset(item)}) if hasattr(item, "dtype") else None)
    places["job"] = content.index(b'"batch_size":')
    places["history"] = content.index(b'"versions":')
    assert {"status", "index", "label", "key", "sample", "digest"} <= places.keys()
    for key, offset in places.items():
        damaged = bytearray(content)
        damaged[offset] ^= 1
        (here / "x.h5").write_bytes(damaged)
        said = call("store", "verify", "x.h5")
        assert (said.code, said.out, said.err.count("\n")) == (65, "", 1), key


def _offset(dataset: Any) -> int:
    """Where the dataset's first byte lies in the file."""
    offset = dataset.id.get_offset() if dataset.chunks is None else dataset.id.get_chunk_info(0).byte_offset
    assert offset is not None
    return int(offset)


def test_diff(files: Any, call: Any, here: Path) -> None:
    shutil.copy(files.maps, "same.h5")
    said = call("store", "diff", files.maps, "same.h5")
    assert (said.code, said.out) == (0, "")
    call("explain", files.checkpoint, "-m", "edges", "-n", "12", "--batch-size", "4", "-o", "other.h5")
    said = call("store", "diff", files.maps, "other.h5")
    assert said.code == 65
    assert said.err == ""
    parts = [record["part"] for record in said.records]
    assert {record["kind"] for record in said.records} == {"difference"}
    assert {"job.method", "attribution"} <= set(parts)
    assert "prediction" not in parts
    assert call("store", "diff", files.maps, files.images).code == 65
    assert call("store", "diff", files.maps, "gone.h5").code == 66
