from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d

from xaicli.errors import UsageError
from xaicli.models.vgg import vgg16_cifar

WIDTHS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def parameters_by_hand(classes: int, channels: int) -> int:
    convolutions = sum(9 * a * b + b for a, b in pairwise([channels, *WIDTHS]))
    return convolutions + 2 * sum(WIDTHS) + 512 * classes + classes


@pytest.mark.parametrize(
    ("classes", "channels", "count"), [(10, 3, 14_728_266), (10, 1, 14_727_114), (7, 3, 14_726_727)]
)
def test_parameter_count(classes: int, channels: int, count: int) -> None:
    with torch.device("meta"):
        network = vgg16_cifar(classes, channels)
    assert sum(p.numel() for p in network.parameters()) == count == parameters_by_hand(classes, channels)


def test_it_is_convolution_relu_batchnorm_in_numbers(randomise: Callable[[nn.Module], nn.Module]) -> None:
    network = randomise(vgg16_cifar(5, 3, width=4)).eval()
    image = torch.rand(2, 3, 32, 32)
    x = image
    for number, depth in enumerate((2, 2, 3, 3, 3), start=1):
        stage = network.get_submodule(f"stage{number}")
        for layer in range(1, depth + 1):
            conv, norm = stage.get_submodule(f"conv{layer}"), stage.get_submodule(f"norm{layer}")
            x = conv2d(x, conv.weight, conv.bias, padding=1).clamp(min=0)
            scale = norm.weight / (norm.running_var + 1e-5).sqrt()
            x = (x - norm.running_mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
        x = max_pool2d(x, 2)
    assert x.shape == (2, 32, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(network(image), x.flatten(1) @ network.fc.weight.T + network.fc.bias)


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 32), (48, 40)])
def test_it_takes_other_sizes(size: tuple[int, int]) -> None:
    assert vgg16_cifar(5, 1, width=2).eval()(torch.zeros(1, 1, *size)).shape == (1, 5)


def test_no_module_is_used_twice_or_works_in_place() -> None:
    network = vgg16_cifar(2, 1, width=2).eval()
    calls: list[nn.Module] = []
    for module in network.modules():
        module.register_forward_hook(lambda module, *_: calls.append(module))
    network(torch.zeros(1, 1, 32, 32))
    assert len(calls) == len(set(calls)) == len(list(network.modules()))
    assert not any(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))


def test_an_absurd_width_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="width=0"):
        vgg16_cifar(10, 3, width=0)
