from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer

from xaicli.errors import InputError
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.grids import Grid
from xaicli.models.layers import Layer, auto_layer, find_layer, look, named_layers


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
        ("timm:swin_tiny_patch4_window7_224", 224, Layer("norm", 768, 7, 7, Grid("channels-last"))),
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


def test_channels_last_maps_and_tokens_are_told_from_heads_and_windows() -> None:
    layers = {layer.name: layer for layer in named_layers(built("torchvision:swin_t", 64))}
    assert layers["features.1.0.attn"] == Layer("features.1.0.attn", 96, 16, 16, Grid("channels-last"))
    assert layers["features.2.reduction"] == Layer("features.2.reduction", 192, 8, 8, Grid("channels-last"))
    assert layers["permute"] == Layer("permute", 768, 2, 2)
    layers = {layer.name: layer for layer in named_layers(built("timm:swin_tiny_patch4_window7_224", 224))}
    assert layers["layers.0.blocks.1.norm2"] == Layer("layers.0.blocks.1.norm2", 96, 56, 56, Grid("tokens", 56, 56))
    assert layers["layers.1"] == Layer("layers.1", 192, 28, 28, Grid("channels-last"))
    assert "layers.0.blocks.0.attn" not in layers  # its 64 windows are no images
    layers = {layer.name: layer for layer in named_layers(built("timm:vit_tiny_patch16_224", 64, "cpu"))}
    assert layers["blocks.3.mlp.act"] == Layer("blocks.3.mlp.act", 768, 4, 4, Grid("tokens", 4, 4, 1))
    assert "blocks.3.attn.q_norm" not in layers  # [N, heads, T, K]


TINY_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # behind the last attention nothing is read but the class token: as grad-cam's examples, what attention reads
        ("vit_tiny_patch16_224", Layer("blocks.1.norm1", 12, 4, 4, Grid("tokens", 4, 4, 1))),
        ("deit_tiny_distilled_patch16_224", Layer("blocks.1.norm1", 12, 4, 4, Grid("tokens", 4, 4, 2))),
        ("vit_small_patch14_reg4_dinov2", Layer("blocks.1.norm1", 12, 4, 4, Grid("tokens", 4, 4, 5))),
        # where the mean of all tokens is read, the last of them
        ("vit_base_patch16_gap_224", Layer("norm", 12, 4, 4, Grid("tokens", 4, 4))),
        ("beit_base_patch16_224", Layer("norm", 12, 4, 4, Grid("tokens", 4, 4, 1))),
    ],
)
def test_the_last_tokens_that_the_logits_depend_on(name: str, expected: Layer) -> None:
    timm = pytest.importorskip("timm")
    assert find_layer(classifier_of(timm.create_model(name, num_classes=2, **TINY_VIT))) == expected


def test_a_fresh_torchvision_vit_whose_weights_are_zero_at_the_top() -> None:
    network = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=8, num_classes=2)
    assert not network.heads.head.weight.any()
    expected = Layer("encoder.layers.encoder_layer_1.ln_1", 12, 4, 4, Grid("tokens", 4, 4, 1))
    assert find_layer(classifier_of(network)) == expected


class Unroll(nn.Module):
    """As Hiera's: the tokens in an order of its own."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.flip(1)


class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).flatten(2).transpose(1, 2)


class Halving(nn.Module):
    """Every second place of every second row, as in networks that thin out their tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(1, (4, 4))[:, ::2, ::2].flatten(1, 2)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(1))


def test_tokens_of_half_the_size() -> None:
    network = nn.Sequential(Embedding(), Halving(), nn.LayerNorm(6), Head())
    assert find_layer(classifier_of(network)) == Layer("2", 6, 2, 2, Grid("tokens", 2, 2))


def test_projections_of_tokens_are_layers_but_not_the_last() -> None:
    classifier = classifier_of(nn.Sequential(Embedding(), nn.LayerNorm(6), nn.Linear(6, 6), Head()))
    assert find_layer(classifier).name == "1"
    assert find_layer(classifier, "2") == Layer("2", 6, 4, 4, Grid("tokens", 4, 4))


def test_tokens_in_another_order_are_no_maps() -> None:
    network = nn.Sequential(Embedding(), Unroll(), nn.LayerNorm(6), Head())
    assert [layer.name for layer in named_layers(classifier_of(network))] == ["0.conv", "0"]


def test_the_last_layer_of_every_size() -> None:
    def stages(text: str, most: int) -> list[str]:
        return [layer.name for layer in look(built(text, 64)).stages(most)]

    four = ["layer1", "layer2", "layer3", "layer4"]
    assert stages("torchvision:resnet18", 4) == four
    assert stages("torchvision:resnet18", 5) == ["relu", *four]
    assert stages("torchvision:vgg11", 2) == ["features.14", "features.19"]
    assert stages("torchvision:swin_t", 9) == ["features.1", "features.3", "features.5", "permute"]


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
