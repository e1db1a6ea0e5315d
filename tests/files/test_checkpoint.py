from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from xaicli.errors import InputError, MissingError, RefusedError
from xaicli.files.canonical import canonical_json, digest_json
from xaicli.files.checkpoint import (
    CheckpointMeta,
    read_checkpoint,
    read_meta,
    tensors_digest,
    write_checkpoint,
)

JOB = {"verb": "train", "method": "standard", "seed": 0}
META = CheckpointMeta(
    job=JOB,
    job_id=digest_json(JOB),
    arch={"name": "cnn", "options": {"width": 16, "depth": 5}},
    classes=("null", "eins", "zwölf"),
    shape=(1, 32, 32),
    mean=(0.3,),
    std=(0.35,),
    data={"name": "digits", "train_digest": "ab", "split_seed": 7},
    recipe={"name": "standard", "options": {"lr": 0.1}},
    epochs=2,
    metrics={"val": {"accuracy": 0.975}},
    history=({"epoch": 1, "loss": 0.5, "lr": 0.1}, {"epoch": 2, "loss": 0.25, "lr": 0.05}),
    threat={"norm": "linf", "eps": 8 / 255},
    lineage=({"verb": "train", "options": {}},),
    versions={"xaicli": "0.1.0"},
)


def tensors() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "network.fc.weight": rng.normal(size=(3, 8)).astype(np.float32),
        "network.bn.num_batches_tracked": np.array(12, dtype=np.int64),
        "network.fc.bias": np.zeros(3, dtype=np.float64),
        "xaicli.detector.tails": rng.normal(size=(3, 0)).astype(np.float16),
        "xaicli.detector.flags": np.array([True, False]),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def forge(path: Path, document: Any, arrays: dict[str, Any] | None = None, **extra: str) -> None:
    """Write a checkpoint whose digests agree with whatever the document says."""
    arrays = tensors() if arrays is None else arrays
    if isinstance(document, dict):
        document = {"tensors": tensors_digest(arrays), **document}
        document = {**document, "digest": digest_json(document)}
    path.write_bytes(save(arrays, metadata={"xaicli": json.dumps(document), **extra}))


def valid_document(path: Path) -> dict[str, Any]:
    write_checkpoint(path, tensors(), META)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    document: dict[str, Any] = json.loads(header["__metadata__"]["xaicli"])
    del document["digest"]
    return document


def test_what_is_read_is_what_was_written(path: Path) -> None:
    id = write_checkpoint(path, tensors(), META)
    checkpoint = read_checkpoint(path)
    assert checkpoint.meta == replace(META, tensors=tensors_digest(tensors()))
    assert checkpoint.id == id == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_meta(path) == (checkpoint.meta, id)
    assert list(checkpoint.tensors) != [] and set(checkpoint.tensors) == set(tensors())
    for name, expected in tensors().items():
        actual = checkpoint.tensors[name]
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(actual, expected)


def test_a_split_of_the_training_data_has_its_own_digest() -> None:
    meta = replace(META, data={"name": "digits", "split": "train", "digest": "a", "test_digest": "b", "known": [1, 2]})
    assert meta.data_of("val") == {**meta.data, "split": "val"}
    assert meta.data_of("test") == {**meta.data, "split": "test", "digest": "b", "train_digest": "a"}
    assert replace(META, data=None).data_of("test") == replace(META, data={"digest": "a"}).data_of("train") == {}
    assert replace(META, recipe=None).recipe_name == "imported"


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "deep" / "b.safetensors"
    shuffled = dict(reversed(tensors().items()))
    shuffled["network.fc.weight"] = np.asfortranarray(shuffled["network.fc.weight"])
    shuffled["network.fc.bias"] = shuffled["network.fc.bias"].astype(">f8")
    write_checkpoint(first, tensors(), META)
    write_checkpoint(second, shuffled, replace(META, metrics=dict(reversed(META.metrics.items()))))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.safetensors", "deep"]


def test_the_one_metadata_key_is_canonical_json_sealed_by_its_digest(path: Path) -> None:
    document = valid_document(path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == ["xaicli"]
    assert header["__metadata__"]["xaicli"] == canonical_json({**document, "digest": digest_json(document)})
    assert str(path.parent) not in header["__metadata__"]["xaicli"]


def test_tensors_digest_covers_name_type_shape_and_bytes() -> None:
    expected = hashlib.sha256(b'["w","<f4",[2,1]]' + np.array([1, 2], dtype="<f4").tobytes()).hexdigest()
    assert tensors_digest({"w": np.array([[1], [2]], dtype=np.float32)}) == expected
    others = [{"v": np.array([[1], [2]], dtype=np.float32)}, {"w": np.array([1, 2], dtype=np.float32)}]
    assert expected not in [tensors_digest(other) for other in others]


def test_numbers_that_are_not_finite_become_null_in_history_and_metrics(path: Path) -> None:
    write_checkpoint(path, tensors(), replace(META, metrics={"loss": math.nan}, history=({"loss": math.inf},)))
    meta, _ = read_meta(path)
    assert (meta.metrics, meta.history) == ({"loss": None}, ({"loss": None},))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_neither_written_nor_read(path: Path, value: float) -> None:
    bad = tensors()
    bad["network.fc.bias"][1] = value
    with pytest.raises(InputError, match=r"network\.fc\.bias"):
        write_checkpoint(path, bad, META)
    assert not path.exists()
    forge(path, {**valid_document(path), "tensors": tensors_digest(bad)}, bad)
    with pytest.raises(InputError, match=r"network\.fc\.bias"):
        read_checkpoint(path)


def test_a_checkpoint_that_could_not_be_read_is_not_written(path: Path) -> None:
    with pytest.raises(InputError, match="'std'"):
        write_checkpoint(path, tensors(), replace(META, std=(0.0,)))
    with pytest.raises(InputError, match="1 MiB"):
        write_checkpoint(path, tensors(), replace(META, metrics={"note": "x" * (1 << 20)}))
    with pytest.raises(InputError, match="Unicode"):
        write_checkpoint(path, tensors(), replace(META, classes=("a", "b", "\udcff")))
    with pytest.raises(TypeError, match="complex64"):
        write_checkpoint(path, {"network.w": np.zeros(2, dtype=np.complex64)}, META)
    assert not path.exists()


def test_every_flipped_byte_is_found_or_changes_nothing(path: Path) -> None:
    write_checkpoint(path, tensors(), META)
    original, expected = path.read_bytes(), read_checkpoint(path)
    rng = random.Random(0)
    found = 0
    for position in rng.sample(range(len(original)), 200):
        damaged = bytearray(original)
        damaged[position] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            actual = read_checkpoint(path)
        except InputError:
            found += 1
            continue
        assert actual.meta == expected.meta
        assert tensors_digest(actual.tensors) == tensors_digest(expected.tensors)
    assert found >= 190  # what may pass: white space that pads the header


def test_every_truncated_file_is_refused(path: Path) -> None:
    write_checkpoint(path, tensors(), META)
    original = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, *range(200, len(original), 97), len(original) - 1]:
        path.write_bytes(original[:length])
        for read in (read_checkpoint, read_meta):
            with pytest.raises(InputError):
                read(path)
    path.write_bytes(original + b"\0")
    with pytest.raises(InputError, match=rf"{len(original) + 1} bytes"):
        read_meta(path)


BAD_FIELDS = [
    ("schema", 2),
    ("schema", True),
    ("job", []),
    ("job", {"verb": "attack"}),
    ("job_id", "0" * 64),
    ("arch", {"name": "", "options": {}}),
    ("arch", {"name": "cnn", "options": []}),
    ("arch", {"name": "a.py:f", "options": {}, "file": "/a.py"}),
    ("classes", []),
    ("classes", ["a", "b", 3]),
    ("classes", ["a", "b", "\x1b[2J"]),
    ("classes", ["c"] * 65535),
    ("shape", [1, 32]),
    ("shape", [1, 32, 0]),
    ("shape", [1, 32, 32.0]),
    ("shape", [3, 10**6, 10**6]),
    ("shape", [4096, 1, 1]),
    ("mean", [0.1, 0.2]),
    ("mean", ["0.1"]),
    ("std", [0]),
    ("std", [True]),
    ("epochs", -1),
    ("history", {}),
    ("history", [1]),
    ("threat", "linf"),
    ("versions", {"torch": 2}),
    ("tensors", "0" * 63),
    ("tensors", "0" * 64),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=[f"{f}={str(v)[:20]!r}" for f, v in BAD_FIELDS])
def test_a_sealed_file_with_a_bad_field_is_refused(path: Path, field: str, value: object) -> None:
    forge(path, {**valid_document(path), field: value})
    with pytest.raises(InputError):
        read_checkpoint(path)


def test_a_missing_field_is_named(path: Path) -> None:
    document = valid_document(path)
    del document["privacy"]
    forge(path, document)
    with pytest.raises(InputError, match="'privacy'"):
        read_meta(path)


def test_a_field_that_a_later_version_added_is_ignored(path: Path) -> None:
    forge(path, {**valid_document(path), "calibration": {"temperature": 1.5}})
    assert read_meta(path)[0] == replace(META, tensors=tensors_digest(tensors()))


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"schema":1,"a":NaN}', "[" * 100_000, '{"a":"\\ud800"}'])
def test_metadata_that_is_no_document_is_refused(path: Path, text: str) -> None:
    path.write_bytes(save(tensors(), metadata={"xaicli": text}))
    with pytest.raises(InputError):
        read_meta(path)


def test_plain_weights_point_to_import(path: Path) -> None:
    path.write_bytes(save(tensors(), metadata={"format": "pt"}))
    for read in (read_checkpoint, read_meta):
        with pytest.raises(InputError, match="xaicli import"):
            read(path)


def test_a_second_metadata_key_is_refused(path: Path) -> None:
    forge(path, valid_document(path), format="pt")
    with pytest.raises(InputError, match="2 metadata keys"):
        read_meta(path)


def test_metadata_over_one_mebibyte_is_refused(path: Path) -> None:
    forge(path, {**valid_document(path), "metrics": {"note": "x" * (1 << 20)}})
    with pytest.raises(InputError, match="1 MiB"):
        read_meta(path)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b'{"a":1,"a":2}', "cannot be read"),
        (b"[1]", "no JSON object"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"__metadata__":{"xaicli":"{}"},"w":{"dtype":"F32"}}', "malformed"),
        (b'{"__metadata__":{"xaicli":"{}"},"w":[1]}', "malformed"),
        (b'{"__metadata__":{"xaicli":"{}"},"w":{"data_offsets":[0,1e999]}}', "malformed"),
    ],
)
def test_a_malformed_header_is_refused(path: Path, header: bytes, reason: str) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError, match=reason):
        read_meta(path)


def test_a_header_longer_than_any_checkpoint_needs_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.write((1 << 30).to_bytes(8, "little") + b"{")
        file.truncate(1 << 31)  # sparse: takes no disk
    with pytest.raises(InputError, match="1073741824 bytes"):
        read_meta(path)


def test_what_cannot_be_read_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"absent\.safetensors"):
        read_checkpoint(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="not a file"):
        read_meta(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a file"):
        read_meta(tmp_path / "pipe")


def test_a_pickle_is_refused(path: Path) -> None:
    path.write_bytes(b"\x80\x04N.")
    with pytest.raises(RefusedError, match="xaicli import"):
        read_checkpoint(path)


def test_reading_metadata_imports_neither_torch_nor_numpy(path: Path) -> None:
    write_checkpoint(path, tensors(), META)
    program = (
        "import sys; from xaicli.files.checkpoint import read_meta; print(read_meta(sys.argv[1])[0].classes[0]); "
        "print(sorted({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "null\n[]\n"
