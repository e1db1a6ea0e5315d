from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from xaicli.errors import UsageError
from xaicli.models.cnn import cnn


def parameters_by_hand(classes: int, channels: int, width: int, depth: int) -> int:
    widths = [channels, width, 2 * width, *[3 * width] * (depth - 2)]
    convolutions = sum(9 * a * b for a, b in pairwise(widths))
    return convolutions + 2 * sum(widths[1:]) + 3 * width * classes + classes


@pytest.mark.parametrize(
    ("classes", "channels", "width", "depth", "count"),
    [(10, 3, 16, 5, 61_210), (10, 1, 16, 5, 60_922), (7, 3, 24, 6, 183_319), (2, 5, 8, 3, 5_114)],
)
def test_parameter_count(classes: int, channels: int, width: int, depth: int, count: int) -> None:
    network = cnn(classes, channels, width=width, depth=depth)
    assert sum(p.numel() for p in network.parameters()) == count == parameters_by_hand(classes, channels, width, depth)


@pytest.mark.parametrize(
    ("size", "last"), [((16, 16), (4, 4)), ((28, 28), (7, 7)), ((32, 32), (8, 8)), ((33, 50), (9, 13))]
)
def test_the_last_map_has_a_quarter_of_the_size(size: tuple[int, int], last: tuple[int, int]) -> None:
    network = cnn(10, 3)
    maps = network[:5](torch.zeros(2, 3, *size))  # type: ignore[index, operator]
    assert maps.shape == (2, 48, *last)
    assert network(torch.zeros(2, 3, *size)).shape == (2, 10)


def test_blocks_are_convolution_norm_relu_and_none_is_used_twice() -> None:
    network = cnn(4, 1, depth=3)
    names = [name for name, module in network.named_modules() if not list(module.children())]
    blocks = [f"block{number}.{part}" for number in (1, 2, 3) for part in ("conv", "norm", "relu")]
    assert names == [*blocks, "pool", "flatten", "fc"]
    calls: list[nn.Module] = []
    for module in network.modules():
        module.register_forward_hook(lambda module, *_: calls.append(module))
    network(torch.zeros(1, 1, 16, 16))
    assert len(calls) == len(set(calls)) == len(list(network.modules()))
    assert not any(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))


def test_one_block_is_convolution_batchnorm_relu_in_numbers() -> None:
    block = cnn(2, 1, width=2).block1
    block.norm.running_mean.fill_(0.5)
    block.norm.running_var.fill_(4)
    image = torch.rand(1, 1, 16, 16)
    expected = (nn.functional.conv2d(image, block.conv.weight, stride=2, padding=1) - 0.5) / (4 + 1e-5) ** 0.5
    torch.testing.assert_close(block.eval()(image), expected.clamp(min=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"width": 0}, {"width": 1025}, {"depth": 2}, {"depth": 65}])
def test_absurd_sizes_are_usage_errors(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="choose a width"):
        cnn(10, 3, **options)
