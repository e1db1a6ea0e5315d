"""The last layer: which networks have one, and what it is given."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.families import FAMILIES
from tests.nets import Function, classify, linear, small_net, some_images
from xaicli.errors import InputError
from xaicli.models.head import features_of, find_head


def test_the_head_is_the_linear_layer_that_makes_the_logits() -> None:
    net = small_net()
    head = find_head(net)
    assert (head.name, head.width) == ("7", 16) and head.layer is net.network[7]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_features_are_the_inputs_of_the_head_bit_for_bit() -> None:
    net = small_net()
    images = some_images(5, net)
    with features_of(find_head(net)) as captured:
        logits = net(images)
    assert torch.equal(captured[0], net.network[:7](images))
    assert torch.equal(net.network[7](captured[0]), logits)


@pytest.mark.parametrize("family", ["resnet18", "mobilenet_v3_small", "googlenet", "vit", "swin", "cnn", "mlp"])
def test_families_end_in_a_linear_layer(family: str) -> None:
    build, side = FAMILIES[family]
    network = build().eval()
    net = classify(network, (3, side, side), 5, torch.float32)
    head = find_head(net)
    assert network.get_submodule(head.name) is head.layer and head.layer.out_features == 5


class Scaled(nn.Linear):
    """A linear layer that does something else beside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()),
        nn.Sequential(nn.Flatten(), Scaled(4, 3)),
        Function(lambda x: x.flatten(1)[:, :3]),
    ],
    ids=["activation", "convolution", "subclass", "function"],
)
def test_other_networks_are_refused(network: nn.Module) -> None:
    with pytest.raises(InputError, match="do not come from one linear layer"):
        find_head(classify(network, (1, 2, 2), 3))


def test_a_layer_that_is_used_twice_is_refused() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(InputError, match="linear layer"):
        find_head(classify(nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer), (1, 2, 2), 4))


def test_a_linear_net_has_its_image_as_features() -> None:
    net = linear(torch.randn(3, 1, 2, 2, dtype=torch.float64))
    assert find_head(net).width == 4
