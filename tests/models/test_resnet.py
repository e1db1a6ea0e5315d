from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision import models

from xaicli.errors import UsageError
from xaicli.models.resnet import resnet18_cifar, resnet34_cifar, resnet50_cifar

Builder = Callable[..., nn.Module]
PAIRS = [(resnet18_cifar, models.resnet18), (resnet34_cifar, models.resnet34), (resnet50_cifar, models.resnet50)]


def torchvision_twin(build: Builder, classes: int) -> nn.Module:
    """torchvision's network with the stem for small images."""
    network = build(weights=None, num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


@pytest.mark.parametrize(("own", "theirs"), PAIRS, ids=["18", "34", "50"])
def test_names_and_outputs_are_torchvisions(
    own: Builder, theirs: Builder, randomise: Callable[[nn.Module], nn.Module]
) -> None:
    network, twin = own(10, 3), randomise(torchvision_twin(theirs, 10))
    network.load_state_dict(twin.state_dict())
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network.eval()(image), twin.eval()(image))


@pytest.mark.parametrize(
    ("build", "count"),
    [(resnet18_cifar, 11_173_962), (resnet34_cifar, 21_282_122), (resnet50_cifar, 23_520_842)],
)
def test_parameter_count(build: Builder, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(10, 3).parameters()) == count


def test_no_module_is_used_twice_or_works_in_place() -> None:
    for build in (resnet18_cifar, resnet50_cifar):
        network = build(2, 1, width=4).eval()
        calls: list[nn.Module] = []
        for module in network.modules():
            module.register_forward_hook(lambda module, *_, calls=calls: calls.append(module))
        network(torch.zeros(1, 1, 16, 16))
        assert len(calls) == len(set(calls)) == len(list(network.modules()))
        assert not any(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))


def test_weights_are_drawn_as_he_et_al_proposed() -> None:
    weight = resnet18_cifar(10, 3).layer4[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)  # fan out


def test_an_absurd_width_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="width=0"):
        resnet18_cifar(10, 3, width=0)
