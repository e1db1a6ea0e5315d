from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from xaicli.errors import InputError
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.layers import Layer, auto_layer, find_layer, named_layers


def classifier_of(network: nn.Module, shape: tuple[int, int, int] = (3, 32, 32)) -> Classifier:
    return Classifier(network, [0.5] * shape[0], [0.25] * shape[0], ["a", "b"], shape)


def built(text: str, size: int = 32, device: str = "meta") -> Classifier:
    """On the meta device, which knows shapes only and is quick with large networks."""
    with torch.device(device):
        return classifier_of(build_network(parse_arch(text), 2, 3, (size, size)), (3, size, size))


def test_layers_come_in_the_order_in_which_they_finish() -> None:
    layers = named_layers(built("cnn:depth=3"))
    assert layers[:4] == [
        Layer("block1.conv", 16, 16, 16),
        Layer("block1.norm", 16, 16, 16),
        Layer("block1.relu", 16, 16, 16),
        Layer("block1", 16, 16, 16),
    ]
    assert layers[-2:] == [Layer("block3", 48, 8, 8), Layer("pool", 48, 1, 1)]
    assert len(layers) == 13


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("cnn", 32, Layer("block5", 48, 8, 8)),
        ("resnet18-cifar:width=8", 32, Layer("layer4", 64, 4, 4)),
        ("resnet50-cifar:width=8", 32, Layer("layer4", 256, 4, 4)),
        ("resnet34-cifar:width=8", 32, Layer("layer4", 64, 4, 4)),
        ("vgg16-cifar:width=8", 32, Layer("stage5", 64, 2, 2)),
        ("timm:efficientnet_lite0", 224, Layer("bn2", 1280, 7, 7)),
        ("timm:densenet121", 64, Layer("features", 1024, 2, 2)),
        ("timm:convnext_atto", 64, Layer("norm_pre", 320, 2, 2)),
        ("timm:vit_tiny_patch16_224", 64, Layer("patch_embed.proj", 192, 4, 4)),  # not the axes of its heads
        (
            "timm:swin_tiny_patch4_window7_224",
            224,
            Layer("patch_embed.proj", 96, 56, 56),
        ),  # channels-last from there on
        ("torchvision:resnet18", 64, Layer("layer4", 512, 2, 2)),
        ("torchvision:resnet18", 32, Layer("layer3", 256, 2, 2)),  # layer4 is 1x1 there
        ("torchvision:vgg11", 64, Layer("features.19", 512, 4, 4)),  # not the AdaptiveAvgPool to 7x7 behind it
        ("torchvision:mobilenet_v2", 64, Layer("features", 1280, 2, 2)),
        ("torchvision:shufflenet_v2_x0_5", 64, Layer("conv5", 1024, 2, 2)),
        ("torchvision:squeezenet1_1", 64, Layer("classifier.2", 2, 3, 3)),
        ("torchvision:swin_t", 64, Layer("permute", 768, 2, 2)),
        ("torchvision:convnext_tiny", 32, Layer("features.6.0", 384, 2, 2)),  # inside, maps are channels-last
    ],
)
def test_auto_is_the_last_layer_that_tells_places_apart(text: str, size: int, expected: Layer) -> None:
    assert find_layer(built(text, size)) == expected


def test_another_shape_than_the_classifiers_own() -> None:
    assert find_layer(built("cnn"), "block5", (3, 64, 48)) == Layer("block5", 48, 16, 12)


def test_channels_last_maps_are_left_out() -> None:
    names = {layer.name for layer in named_layers(built("torchvision:swin_t", 64))}
    assert names & {"features.0.0", "permute"} == {"features.0.0", "permute"}
    assert not any(name.startswith(("features.1", "features.2", "features.7", "norm")) for name in names)


def test_a_module_that_is_used_twice_is_left_out() -> None:
    layers = {layer.name for layer in named_layers(built("torchvision:resnet18"))}
    assert "layer4.1.conv2" in layers and "layer4.1.relu" not in layers


def test_modules_after_pooling_are_not_chosen_when_they_hand_on_the_pooled_map() -> None:
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    network = nn.Sequential(features, nn.Dropout(), nn.Flatten(), nn.Linear(4 * 16 * 16, 2))
    assert auto_layer(classifier_of(network)) == "0.1"


def test_a_pooled_map_is_better_than_none() -> None:
    network = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    assert auto_layer(classifier_of(network)) == "0"


def test_a_network_without_maps() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    for classifier in (classifier_of(network), built("mlp:hidden=8")):
        with pytest.raises(InputError, match=r"no layer with a spatial map.* such as integrated-gradients"):
            auto_layer(classifier)


def test_an_unknown_name_is_answered_with_the_candidates() -> None:
    with pytest.raises(InputError, match=r"Did you mean 'block5'\?.*block5\.relu, block5, pool") as caught:
        find_layer(built("cnn"), "blok5")
    assert "\n" not in str(caught.value)


class Counting(nn.Module):
    """Counts its forwards and dislikes training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.forwards = 0

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.forwards += 1
        return self.conv(x).mean((2, 3))


def test_one_forward_and_nothing_is_left_behind() -> None:
    network = Counting()
    classifier = classifier_of(network)
    network.conv.eval()
    assert auto_layer(classifier) == "conv"
    assert (network.forwards, network.training, network.conv.training) == (1, True, False)
    assert not network.conv._forward_hooks


def test_hooks_are_removed_when_the_forward_fails() -> None:
    classifier = classifier_of(models.alexnet(weights=None, num_classes=2))
    with pytest.raises(RuntimeError):
        named_layers(classifier)
    assert not any(module._forward_hooks for module in classifier.modules())


def test_batchnorm_statistics_do_not_move() -> None:
    classifier = built("cnn", device="cpu").train()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    named_layers(classifier)
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
