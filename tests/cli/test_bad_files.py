"""Inputs that are damaged, of another kind, or do not fit: each its exit code and one sentence."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

VERBS = {
    "attack": ("attack", "X", "-a", "fgsm", "-n", "2"),
    "explain": ("explain", "X", "-m", "edges", "-n", "2"),
    "evaluate": ("evaluate", "X", "-n", "2"),
    "generate": ("generate", "X", "-g", "class-images:steps=1", "--per-class", "1"),
    "info": ("store", "info", "X"),
    "verify": ("store", "verify", "X"),
    "diff": ("store", "diff", "X", "X"),
}


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("x", "y")
    return out.getvalue()


def make(kind: str, files: Any, path: Path) -> None:
    """A file that no command should take."""
    images, checkpoint = files.images.read_bytes(), files.checkpoint.read_bytes()
    contents = {
        "empty": b"",
        "text": b"hello world, this is a text",
        "truncated store": images[: len(images) // 2],
        "start of a store": images[:8],
        "truncated checkpoint": checkpoint[:-1],
        "start of a checkpoint": checkpoint[:9],
        "grown checkpoint": checkpoint + b"\0",
        "zeros": bytes(4096),
        "pickle": pickle.dumps([1]),
        "zip": _zip(),
    }
    if kind == "foreign hdf5":
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(3)
    elif kind == "foreign safetensors":
        save_file({"weight": np.zeros(3, np.float32)}, path)
    elif kind == "torch file":
        torch.save({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(contents[kind])


CODES = {
    "empty": 65,
    "text": 65,
    "truncated store": 65,
    "start of a store": 65,
    "truncated checkpoint": 65,
    "start of a checkpoint": 65,
    "grown checkpoint": 65,
    "zeros": 65,
    "foreign hdf5": 65,
    "foreign safetensors": 65,
    "pickle": 77,
    "zip": 77,
    "torch file": 77,
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", CODES)
def test_a_bad_file_has_its_code_and_one_sentence_in_every_command(
    verb: str, kind: str, files: Any, call: Any, here: Path
) -> None:
    make(kind, files, here / "bad")
    said = call(*("bad" if part == "X" else part for part in VERBS[verb]))
    assert (said.code, said.out) == (CODES[kind], "")
    assert said.err.startswith("xaicli: 'bad' ")
    assert said.err.endswith(".\n")
    assert said.err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["bad"]


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("attack SCORES -a fgsm", 2, "no checkpoint and no images store among the sources; name at least one."),
        ("attack MAPS -a fgsm", 2, "no checkpoint and no images store among the sources; name at least one."),
        ("explain MAPS -m ig", 2, "no checkpoint and no images store among the sources; name at least one."),
        ("generate IMAGES -g class-images", 2, "no checkpoint and no attributions store among the sources"),
        ("generate MODEL -g class-images:guide=mask", 2, "'class-images:guide=mask' is guided by attributions"),
        ("evaluate MODEL -k deletion", 2, "'deletion' does not judge "),
        ("evaluate IMAGES -k pointing-game", 2, "'pointing-game' does not judge "),
        ("evaluate MAPS -k pointing-game", 65, None),
        ("explain MODEL -m ig --target nine", 2, None),
        ("explain MODEL -m ig --target 10", 2, None),
        ("explain MODEL -m ig --quantity odds", 2, None),
        ("explain MODEL -m gradcam:layer=conv9", 65, None),
        ("explain MODEL -m ig --data digts", 2, None),
        ("explain MODEL -m ig --data digits:tset", 2, None),
        ("explain MODEL -m ig --data folder:nowhere", 66, None),
        ("explain MODEL -m ig --device gpu", 2, "--device 'gpu' is not a device; use auto, cpu, cuda or cuda:1."),
        ("explain MODEL -m ig --device mps", 2, "--device 'mps' is not supported; use auto, cpu, cuda or cuda:1."),
        ("explain MODEL -m ig --block 3", 2, "--block 3 is not a power of two; use 1, 2, 4, ... or auto."),
        ("generate MODEL -g class-images --classes 0,ten", 2, None),
        ("generate MODEL -g class-images -n 5", 2, "generate makes --per-class images of each class; leave --limit"),
        ("train --data digits --arch cn", 2, "there is no architecture 'cn'"),
        ("train --data digits --arch cnn:width=x", 2, "'cnn:width=x' is not valid: 'x' is not a number."),
        ("train --data digits --arch nofile.py:f", 66, None),
        ("train --data digits --input 3x32x32", 65, None),
        ("import gone.pt --arch cnn", 66, None),
        ("import MODEL --arch cnn --input 1x32x32 --classes 10", 65, None),
        ("import WEIGHTS --arch cnn:width=2 --input 3x32x32 --classes 10", 65, None),
        (
            "import WEIGHTS --arch cnn:width=2 --input 1x32x32 --classes gone.txt",
            66,
            "--classes 'gone.txt' cannot be read",
        ),
        ("import WEIGHTS --arch cnn:width=2 --input 1x32x32 --classes 0", 2, "--classes 0 makes no classifier"),
        ("import WEIGHTS --arch cnn:width=2 --input 1x32x32 --classes 10 --std 0", 2, "--std must be positive."),
        (
            "import WEIGHTS --arch cnn:width=2 --input 1x32x32 --classes 10 --mean 0,1",
            2,
            "--mean has 2 values for 1 chan",
        ),
    ],
)
def test_what_does_not_fit(
    command: str, code: int, sentence: str | None, files: Any, call: Any, here: Path, weights: Path
) -> None:
    names = {"MODEL": files.checkpoint, "IMAGES": files.images, "MAPS": files.maps, "SCORES": files.scores}
    names["WEIGHTS"] = weights
    said = call(*(names.get(part, part) for part in command.split()))
    assert said.code == code, said.err
    lines = said.err.splitlines()
    assert [line for line in lines[:-1] if not line.startswith("warning: ")] == []
    assert lines[-1].startswith(f"xaicli: {sentence or ''}")
    assert lines[-1].endswith((".", "?"))
    assert said.out == ""
    assert list(here.iterdir()) == []


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain state dict of a small cnn for one channel and ten classes."""
    return _weights(1, 10, tmp_path_factory.mktemp("weights") / "w.safetensors")


def test_channels_and_classes_of_model_and_data_must_agree(files: Any, call: Any, here: Path) -> None:
    """The images store has one channel and ten classes; these checkpoints expect three, and seven."""
    for name, shape, classes in (("colour", "3x32x32", "10"), ("seven", "1x32x32", "7"), ("large", "1x48x48", "10")):
        weights = _weights(int(shape[0]), int(classes), here / f"{name}.safetensors")
        model = call("import", weights, "--arch", "cnn:width=2", "--input", shape, "--classes", classes,
                     "-o", f"{name}.model.safetensors")  # fmt: skip
        assert model.code == 0, model.err
        said = call("explain", model.record["path"], files.images, "-m", "edges", "-o", "x.h5")
        assert said.code == 65
        expected = {
            "colour": "takes images of 3x32x32, but these are 1x32x32; name other data.",
            "seven": "knows 7 classes, but the data has 10; name other data.",
            "large": "takes images of 1x48x48, but these are 1x32x32; name other data.",
        }[name]
        assert said.err == f"xaicli: '{name}.model.safetensors' {expected}\n"
        assert not (here / "x.h5").exists()


def test_digits_do_not_fit_a_colour_model_and_shapes_do(call: Any, here: Path) -> None:
    weights = _weights(3, 10, here / "w.safetensors")
    call("import", weights, "--arch", "cnn:width=2", "--input", "3x32x32", "--classes", "10", "-o", "m.safetensors")
    said = call("explain", "m.safetensors", "-m", "edges", "--data", "digits", "-n", "2", "-o", "x.h5")
    assert said.code == 65
    assert said.err.count("\n") == 1
    said = call("explain", "m.safetensors", "-m", "edges", "-n", "2", "-o", "x.h5")
    assert (said.code, said.err) == (
        2,
        "xaicli: 'm.safetensors' does not say what data it was trained on; name some with --data.\n",
    )
    said = call("explain", "m.safetensors", "-m", "edges", "--data", "shapes", "-n", "2", "-o", "x.h5")
    assert said.code == 0, said.err
    assert (
        said.err
        == "warning: the class names of 'm.safetensors' and of the data differ; labels are compared by number.\n"
    )


def _weights(channels: int, classes: int, path: Path) -> Path:
    from xaicli.models.arch import build_network, parse_arch

    network = build_network(parse_arch("cnn:width=2"), classes, channels, (32, 32))
    save_file({name: tensor.numpy() for name, tensor in network.state_dict().items()}, path)
    return path


def test_data_that_is_no_longer_the_data_of_record_is_65(files: Any, call: Any, here: Path, monkeypatch: Any) -> None:
    shutil.copy(files.checkpoint, "m.safetensors")
    from xaicli.run import cases

    def other(spec: str, **options: Any) -> Any:
        from dataclasses import replace

        return replace(opened(spec, **options), digest="0" * 64)

    opened = cases.open_data
    monkeypatch.setattr(cases, "open_data", other)
    said = call("explain", "m.safetensors", "-m", "edges", "-n", "2")
    assert said.code == 65
    assert said.err == (
        "xaicli: the data 'digits:test' is not the data of record: its digest differs; restore that data.\n"
    )
