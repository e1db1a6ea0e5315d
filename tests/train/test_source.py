"""`--from`: a training begins with the weights of a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xaicli.errors import InputError, UsageError
from xaicli.files.artifact import identify
from xaicli.files.checkpoint import read_checkpoint, read_meta
from xaicli.run.settings import Settings
from xaicli.specs import parse_spec
from xaicli.train.plan import Request
from xaicli.train.run import train

STILL = "standard:lr=1e-30,weight-decay=0,momentum=0,schedule=constant"  # the weights stay where they are


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parent") / "parent.safetensors"
    run(path, "standard", arch="cnn:width=4,depth=3")
    return path


def run(path: Path, recipe: str = STILL, **changes: Any) -> dict[str, Any]:
    data = {"data": "digits", "arch": None, "shape": (1, 16, 16), "epochs": 1, **changes}
    (record,) = train(
        replace(Request("", None, parse_spec("train", recipe)), **data),
        Settings(output=str(path), batch_size=431, device="cpu"),
    )
    return record


def weights(path: Path) -> dict[str, Any]:
    found = read_checkpoint(path).tensors
    return {name: array for name, array in found.items() if "running" not in name and "num_batches" not in name}


def test_it_begins_with_the_weights_and_the_head_of_the_same_classes(parent: Path, tmp_path: Path) -> None:
    path = tmp_path / "child.safetensors"
    record = run(path, source=str(parent))
    assert all(np.array_equal(mine, weights(parent)[name]) for name, mine in weights(path).items())
    id = identify(parent).id
    assert record["parents"]["checkpoint"] == {"id": id, "path": str(parent)}
    child, before = read_meta(path)[0], read_meta(parent)[0]
    assert identify(path).parents["checkpoint"] == id
    assert child.lineage == (*before.lineage, child.job)
    assert (child.arch, child.mean, child.std) == (before.arch, before.mean, before.std)


def test_image_size_and_normalisation_are_the_checkpoints(parent: Path, tmp_path: Path) -> None:
    other = tmp_path / "shapes.safetensors"
    run(other, source=str(parent), data="shapes", shape=None)
    child, before = read_meta(other)[0], read_meta(parent)[0]
    assert (child.shape, child.mean, child.std) == (before.shape, before.mean, before.std)
    assert child.classes != before.classes


def test_other_classes_get_a_fresh_head(parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xaicli.data.open import open_data

    def renamed(*arguments: Any, **options: Any) -> Any:
        dataset = open_data(*arguments, **options)
        return replace(dataset, classes=(*dataset.classes[:-1], "neun"))

    monkeypatch.setattr("xaicli.train.plan.open_data", renamed)
    path = tmp_path / "child.safetensors"
    run(path, source=str(parent))
    before, found = weights(parent), weights(path)
    changed = {name for name, array in found.items() if not np.array_equal(array, before[name])}
    assert changed == {"network.fc.weight", "network.fc.bias"}
    bound = 1 / found["network.fc.weight"].shape[1] ** 0.5  # of torch's initial weights
    assert np.abs(found["network.fc.weight"]).max() <= bound


def test_what_does_not_fit(parent: Path, tmp_path: Path) -> None:
    path = tmp_path / "child.safetensors"
    with pytest.raises(InputError, match="1 channel"):
        run(path, source=str(parent), shape=(3, 16, 16))
    with pytest.raises(InputError, match=r"takes images of 1 channels, but these have 3"):
        run(path, source=str(parent), data="shapes", shape=(3, 16, 16))
    with pytest.raises(UsageError, match=r"is of the architecture cnn:.*, not mlp; leave --arch out"):
        run(path, source=str(parent), arch="mlp")
    run(path, source=str(parent), arch="cnn:width=4,depth=3")
    with pytest.raises(UsageError, match="holds 0 checkpoints"):
        images = tmp_path / "images.h5"
        attacked(parent, images)
        run(path, source=str(images))


def attacked(parent: Path, images: Path) -> None:
    from tests.conftest import run_here

    assert run_here("attack", parent, "-a", "gaussian-noise", "-n", "4", "-o", images).code == 0


def test_a_record_on_standard_input_names_it_too(parent: Path, tmp_path: Path, call: Any) -> None:
    (tmp_path / "net.pth").write_bytes(b"")
    torch.save(
        {n.removeprefix("network."): torch.from_numpy(a) for n, a in read_checkpoint(parent).tensors.items()},
        tmp_path / "net.pth",
    )
    imported = call(
        "import", tmp_path / "net.pth", "--arch", "cnn:width=4,depth=3", "--classes", "10", "--input", "1x16x16",
        "-o", tmp_path / "imported.safetensors",
    )  # fmt: skip
    assert imported.code == 0, imported.err
    trained = call(
        "train", "--from", "-", "--data", "digits", "--recipe", "private:noise-multiplier=3,accountant=rdp",
        "--freeze", "body", "--epochs", "1", "-o", tmp_path / "m.safetensors", stdin=imported.raw,
    )  # fmt: skip
    assert trained.code == 0, trained.err
    privacy = read_meta(tmp_path / "m.safetensors")[0].privacy
    assert privacy is not None and privacy["replaced"] == []
    assert "what imported weights were trained on" in privacy["not_covered"]
    found, before = read_checkpoint(tmp_path / "m.safetensors").tensors, read_checkpoint(parent).tensors
    changed = {name for name, array in found.items() if not np.array_equal(array, before[name])}
    assert changed == {"network.fc.weight", "network.fc.bias"}  # and no statistics
