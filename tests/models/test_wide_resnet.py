from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaicli.errors import UsageError
from xaicli.models.wide_resnet import StandardisedConv2d, wrn_16_4


def parameters_by_hand(classes: int, channels: int, depth: int, widen: int) -> int:
    def conv(a: int, b: int, size: int) -> int:
        return a * b * size**2 + 2 * b  # with bias and gain

    total, before = conv(channels, 16, 3), 16
    for width in (16 * widen, 32 * widen, 64 * widen):
        total += 2 * before + conv(before, width, 1)  # the shortcut
        for _ in range((depth - 4) // 6):
            total += 2 * before + conv(before, width, 3) + 2 * width + conv(width, width, 3)
            before = width
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize(("depth", "widen", "millions"), [(16, 4, 2.75), (40, 4, 8.96)])
def test_parameter_count(depth: int, widen: int, millions: float) -> None:
    """2.75 and 8.9 million are what the Wide-ResNet paper's table counts for WRN-16-4 and WRN-40-4."""
    with torch.device("meta"):
        count = sum(one.numel() for one in wrn_16_4(10, 3, depth=depth, widen=widen).parameters())
    assert count == parameters_by_hand(10, 3, depth, widen)
    assert round(count / 1e6, 2) == millions


def test_kernels_have_mean_zero_and_variance_one_over_the_fan_in_times_their_gains() -> None:
    conv = StandardisedConv2d(3, 4, 3).double()
    with torch.no_grad():
        conv.weight.mul_(5).add_(1)
        conv.gain.copy_(torch.tensor([1, 2, 0.5, -1], dtype=torch.float64).view(4, 1, 1, 1))
        conv.bias.zero_()
        impulse = torch.zeros(27, 3, 3, 3, dtype=torch.float64)
        impulse.view(27, 27).fill_diagonal_(1)
        kernels = conv(impulse)[:, :, 1, 1].T  # what the middle place answers to every single input
    torch.testing.assert_close(kernels.mean(1), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(
        kernels.var(1, correction=0), torch.tensor([1, 4, 0.25, 1], dtype=torch.float64) / 27, rtol=1e-12, atol=0
    )


def test_a_constant_kernel_is_zero_and_not_a_division_by_zero() -> None:
    conv = StandardisedConv2d(3, 4, 3)
    nn.init.constant_(conv.weight, 0.7)
    assert bool((conv(torch.rand(1, 3, 5, 5)) == 0).all())


def test_it_is_its_formula() -> None:
    torch.manual_seed(0)
    network = wrn_16_4(5, 3, widen=1).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    state = network.state_dict()

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        mean, std = weight.flatten(1).mean(1), weight.flatten(1).std(1, correction=0)
        kernel = (weight - mean.view(-1, 1, 1, 1)) / std.view(-1, 1, 1, 1) / math.sqrt(weight[0].numel())
        return F.conv2d(x, kernel * state[f"{name}.gain"], state[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        rows, channels = x.shape[:2]
        groups = x.clamp(min=0).reshape(rows, 16, -1)
        centred = groups - groups.mean(2, keepdim=True)
        unit = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).view_as(x)
        return unit * state[f"{name}.weight"].view(channels, 1, 1) + state[f"{name}.bias"].view(channels, 1, 1)

    image = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    x = conv("conv1", image)
    for stage in (1, 2, 3):
        for block in (0, 1):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            kept = conv(f"{at}.shortcut.conv", norm(f"{at}.shortcut.norm", x), stride) if block == 0 else x
            out = conv(f"{at}.conv1", norm(f"{at}.norm1", x), stride)
            x = conv(f"{at}.conv2", norm(f"{at}.norm2", out)) + kept
    x = norm("norm", x).mean((2, 3))
    with torch.no_grad():
        torch.testing.assert_close(network(image), x @ state["fc.weight"].T + state["fc.bias"])


@pytest.mark.parametrize(("depth", "widen"), [(15, 4), (4, 4), (16, 0), (16, 65)])
def test_what_it_cannot_be_is_a_usage_error(depth: int, widen: int) -> None:
    with pytest.raises(UsageError, match="a Wide-ResNet cannot"):
        wrn_16_4(10, 3, depth=depth, widen=widen)
