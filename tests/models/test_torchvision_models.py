from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from xaicli.errors import UsageError
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.torchvision_models import build_torchvision, classifier_names


def test_only_image_classifiers_are_listed() -> None:
    names = classifier_names()
    assert {"resnet18", "vgg16", "vit_b_16", "googlenet"} <= set(names)
    assert not {name for name in names if name.startswith(("fcn", "fasterrcnn", "raft", "r3d", "quantized"))}


def test_the_network_is_torchvisions() -> None:
    network = build_network(parse_arch("torchvision:resnet18"), 7, 3, (32, 32)).eval()
    twin = models.resnet18(weights=None, num_classes=7).eval()
    twin.load_state_dict(network.state_dict())
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(image), twin(image))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_off_also_while_training(name: str) -> None:
    size = 96 if name == "inception_v3" else 32
    network = build_torchvision(name, 4, 3, (size, size)).train()
    output = network(torch.rand(2, 3, size, size))
    assert isinstance(output, torch.Tensor) and output.shape == (2, 4)
    assert not any("aux" in name.lower() for name, _ in network.named_parameters())


@pytest.mark.parametrize(
    ("name", "first"), [("resnet18", "conv1"), ("mobilenet_v2", "features.0.0"), ("alexnet", "features.0")]
)
@pytest.mark.parametrize("channels", [1, 5])
def test_the_first_convolution_takes_other_channels(name: str, first: str, channels: int) -> None:
    torch.manual_seed(3)
    network = build_torchvision(name, 4, channels, (64, 64))
    torch.manual_seed(3)
    before = models.get_model(name, weights=None, num_classes=4).get_submodule(first)
    after = network.get_submodule(first)
    assert isinstance(after, nn.Conv2d) and isinstance(before, nn.Conv2d)
    expected = torch.stack([before.weight[:, c % 3] for c in range(channels)], 1) * (3 / channels) ** 0.5
    torch.testing.assert_close(after.weight, expected, rtol=0, atol=0)
    assert (after.stride, after.padding, after.bias is None) == (before.stride, before.padding, before.bias is None)
    if before.bias is not None and after.bias is not None:
        assert torch.equal(before.bias, after.bias)


def test_outputs_keep_their_variance_with_six_channels() -> None:
    torch.manual_seed(3)
    six = build_torchvision("resnet18", 4, 6, (32, 32)).conv1.weight
    torch.manual_seed(3)
    three = models.resnet18(weights=None, num_classes=4).conv1.weight
    torch.testing.assert_close((six**2).sum((1, 2, 3)), (three**2).sum((1, 2, 3)))


def test_models_made_for_one_size_are_built_for_the_images() -> None:
    with torch.device("meta"):
        network = build_torchvision("vit_b_16", 4, 3, (64, 64))
    assert network.encoder.pos_embedding.shape == (1, 17, 768)
    with pytest.raises(UsageError, match="square images only, not 64x32"):
        build_torchvision("vit_b_16", 4, 3, (64, 32))
    with pytest.raises(UsageError, match="choose another size") as caught:
        build_torchvision("maxvit_t", 4, 3, (32, 32))
    assert "\n" not in str(caught.value)


def test_images_that_are_too_small_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"'torchvision:alexnet' cannot take 3x32x32 images"):
        build_torchvision("alexnet", 4, 3, (32, 32))
