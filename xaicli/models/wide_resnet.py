"""Wide residual networks for private training: GroupNorm in place of BatchNorm, and standardised convolutions.

The network of De et al. (2022), "Unlocking high-accuracy differentially private image classification through scale": a
Wide-ResNet (Zagoruyko and Komodakis, 2016) whose norms have 16 groups, lie behind the ReLUs, and whose kernels are
standardised (Qiao et al., 2019) with a learned gain for each, as in the networks of Brock et al. (2021).
"""

from __future__ import annotations

from collections import OrderedDict
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaicli.errors import UsageError
from xaicli.signatures import Count

STEM = 16
GROUPS = 16
_WIDEST = 64
_DEPTHS = range(10, 101, 6)


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose kernels have mean 0 and variance 1/fan-in, times a gain for each."""

    def __init__(self, channels: int, width: int, size: int, stride: int = 1) -> None:
        super().__init__(channels, width, size, stride=stride, padding=size // 2)
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear")
        assert self.bias is not None
        nn.init.zeros_(self.bias)
        self.gain = nn.Parameter(torch.ones(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, width, H/stride, W/stride]."""
        return F.conv2d(x, standardised(self.weight, self.gain), self.bias, self.stride, self.padding)


def standardised(weight: Tensor, gain: Tensor) -> Tensor:
    """Kernels [K, C, h, w] of mean 0 and variance 1/fan-in, times their gains [K, 1, 1, 1]."""
    variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
    scale = torch.rsqrt((variance * prod(weight.shape[1:])).clamp(min=1e-4))
    return (weight - mean) * (scale * gain)


class WideBlock(nn.Module):
    """ReLU, norm and 3x3 convolution, twice, around a shortcut, which in a stage's first block is the same of 1x1."""

    def __init__(self, channels: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        self.relu1 = nn.ReLU()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = StandardisedConv2d(channels, width, 3, stride)
        self.relu2 = nn.ReLU()
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.conv2 = StandardisedConv2d(width, width, 3)
        self.shortcut = _shortcut(channels, width, stride) if first else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, width, H/stride, W/stride]."""
        out: Tensor = self.conv1(self.norm1(self.relu1(x)))
        out = self.conv2(self.norm2(self.relu2(out)))
        return out + (x if self.shortcut is None else self.shortcut(x))


class WideResNet(nn.Module):
    """Stem, three stages of blocks of which the last two halve the size, ReLU, norm, global pooling, linear layer."""

    def __init__(self, depth: int, widen: int, classes: int, channels: int) -> None:
        super().__init__()
        if depth not in _DEPTHS or not 1 <= widen <= _WIDEST:
            raise UsageError(
                f"a Wide-ResNet cannot have depth={depth} and widen={widen}; choose a depth of 6k + 4 from "
                f"{_DEPTHS[0]} to {_DEPTHS[-1]} and a factor of 1 to {_WIDEST}."
            )
        blocks, width = (depth - 4) // 6, STEM * widen
        self.conv1 = StandardisedConv2d(channels, STEM, 3)
        self.layer1 = _stage(blocks, STEM, width, stride=1)
        self.layer2 = _stage(blocks, width, 2 * width, stride=2)
        self.layer3 = _stage(blocks, 2 * width, 4 * width, stride=2)
        self.relu = nn.ReLU()
        self.norm = nn.GroupNorm(GROUPS, 4 * width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, C, H, W] -> logits [N, K]."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: Tensor = self.fc(self.flatten(self.avgpool(self.norm(self.relu(x)))))
        return logits


def wrn_16_4(classes: int, channels: int, *, depth: Count = 16, widen: Count = 4) -> nn.Module:
    """Wide-ResNet-16-4 with standardised convolutions and GroupNorm; 2.7 million parameters.

    depth: 6k + 4 layers, of k blocks in each stage; `depth=40` is the WRN-40-4. widen: channels are 16, 32 and 64 times
    as many.
    """
    return WideResNet(depth, widen, classes, channels)


def _shortcut(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            relu=nn.ReLU(),
            norm=nn.GroupNorm(GROUPS, channels),
            conv=StandardisedConv2d(channels, width, 1, stride),
        )
    )


def _stage(blocks: int, channels: int, width: int, stride: int) -> nn.Sequential:
    first = WideBlock(channels, width, stride, first=True)
    return nn.Sequential(first, *(WideBlock(width, width, 1, first=False) for _ in range(blocks - 1)))
