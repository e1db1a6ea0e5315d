from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import xaicli
from xaicli.errors import InputError, RefusedError
from xaicli.files.checkpoint import read_checkpoint, read_meta, write_checkpoint
from xaicli.models.arch import parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.load import lay_out, load_checkpoint, load_classifier
from xaicli.models.state import state_arrays

WriteModel = Callable[..., tuple[Path, Classifier]]


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("cnn", (1, 28, 28)),
        ("cnn:width=8,depth=3", (3, 32, 32)),
        ("vgg16-cifar:width=4", (3, 32, 32)),
        ("mlp:hidden=8,6", (1, 28, 28)),
        ("timm:efficientnet_lite0", (3, 64, 64)),
        ("timm:vit_tiny_patch16_224", (3, 32, 32)),
        ("resnet50-cifar:width=4", (3, 16, 16)),
        ("torchvision:mobilenet_v2", (1, 32, 32)),
        ("torchvision:regnet_y_400mf", (3, 32, 32)),  # cannot be built on the meta device
        ("torchvision:swin_t", (3, 32, 32)),  # has buffers in its state
        ("torchvision:inception_v3", (3, 96, 96)),
    ],
)
def test_the_model_comes_back_bit_by_bit(write_model: WriteModel, text: str, shape: tuple[int, int, int]) -> None:
    path, original = write_model(parse_arch(text), shape=shape)
    loaded = load_classifier(path)
    pixels = torch.rand(2, *shape)
    with torch.no_grad():
        assert torch.equal(loaded(pixels), lay_out(original, "cpu")(pixels))
    assert (loaded.class_names, loaded.shape) == (("class 0", "class 1", "class 2"), shape)
    assert loaded.meta == read_meta(path)[0]
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert {t.device.type for t in [*loaded.parameters(), *loaded.buffers()]} == {"cpu"}


def test_the_public_function_is_the_same(write_model: WriteModel) -> None:
    path, original = write_model(parse_arch("cnn"))
    assert xaicli.load_checkpoint is load_checkpoint
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(xaicli.load_checkpoint(path)(pixels), lay_out(original, "cpu")(pixels))


def test_loading_leaves_the_random_generator_alone(write_model: WriteModel) -> None:
    for text in ("cnn", "torchvision:regnet_y_400mf"):
        path, _ = write_model(parse_arch(text))
        before = torch.get_rng_state()
        load_classifier(path)
        assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_in_memory_is_not_shared_with_the_model(write_model: WriteModel) -> None:
    path, _ = write_model(parse_arch("cnn"))
    checkpoint = read_checkpoint(path)
    classifier = load_classifier(checkpoint)
    for array in checkpoint.tensors.values():
        array[...] = 0
    assert classifier.network.fc.weight.abs().sum() > 0
    arrays = state_arrays(classifier)
    classifier.network.fc.weight.zero_()
    assert np.abs(arrays["network.fc.weight"]).sum() > 0


def test_what_is_saved_again_is_the_same_file(write_model: WriteModel, tmp_path: Path) -> None:
    path, _ = write_model(parse_arch("cnn"))
    loaded = load_classifier(path)
    assert loaded.meta is not None
    write_checkpoint(tmp_path / "again.safetensors", state_arrays(loaded), loaded.meta)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def rewrite(path: Path, *, arch: dict[str, object] | None = None, **tensors: np.ndarray | None) -> None:
    """Publish the checkpoint again with another architecture or other tensors, correctly sealed."""
    checkpoint = read_checkpoint(path)
    changed = {**checkpoint.tensors, **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
    meta = replace(checkpoint.meta, arch=arch) if arch else checkpoint.meta
    write_checkpoint(path, {name: tensor for name, tensor in changed.items() if tensor is not None}, meta)


def test_tensors_that_do_not_fit_the_architecture_are_refused(write_model: WriteModel) -> None:
    path, _ = write_model(parse_arch("cnn"))
    rewrite(path, network__fc__weight=np.ones((5, 48), dtype=np.float32), network__fc__bias=None)
    with pytest.raises(
        InputError, match=r"missing: fc\.bias; of another shape or type: fc\.weight \(float32 \[5, 48\]"
    ):
        load_classifier(path)


def test_an_architecture_too_large_for_its_tensors_is_refused_before_anything_is_allocated(
    write_model: WriteModel,
) -> None:
    path, _ = write_model(parse_arch("cnn"))
    rewrite(path, arch={"name": "cnn", "options": {"width": 1024, "depth": 64}})  # 21 GB
    with pytest.raises(InputError, match="do not fit the architecture"):
        load_classifier(path)


@pytest.mark.parametrize("options", [{"width": 10**9}, {"width": -1}, {"depth": 10**9}])
def test_absurd_options_are_refused(write_model: WriteModel, options: dict[str, int]) -> None:
    path, _ = write_model(parse_arch("cnn"))
    rewrite(path, arch={"name": "cnn", "options": options})
    with pytest.raises(InputError, match="cannot be built"):
        load_classifier(path)


def test_arrays_beside_the_model_are_its_own_or_refused(write_model: WriteModel) -> None:
    path, _ = write_model(parse_arch("cnn"))
    rewrite(path, xaicli__detector__tails=np.ones(3))
    assert "network.fc.weight" in load_classifier(path).state_dict()
    rewrite(path, surprise=np.ones(3))
    with pytest.raises(InputError, match="'surprise'"):
        load_classifier(path)


FACTORY = """
import torch
from torch import nn

class Make(nn.Module):
    def __init__(self, num_classes, channels, width: int = 3):
        super().__init__()
        self.register_buffer("grid", torch.linspace(0, 1, 16), persistent=False)
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc((self.conv(x) * self.grid).mean((2, 3)))
"""


def test_a_users_own_architecture(write_model: WriteModel, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(FACTORY)
    file.chmod(0o644)
    tmp_path.chmod(0o755)
    path, original = write_model(parse_arch(f"{file}:Make:width=5"), shape=(3, 16, 16))
    lay_out(original, "cpu")
    pixels = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(load_classifier(path)(pixels), original(pixels))
        moved = file.rename(tmp_path / "moved.py")
        with pytest.raises(RefusedError, match=r"--arch FILE\.py:Make"):
            load_classifier(path)
        assert torch.equal(load_classifier(path, arch=f"{moved}:Make")(pixels), original(pixels))
        moved.write_text(FACTORY.replace("3, padding=1", "3, padding=1, bias=True"))
        with pytest.raises(RefusedError, match="unchanged copy"):
            load_classifier(path, arch=f"{moved}:Make")
