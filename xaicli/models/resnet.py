"""Residual networks for small images: torchvision's ResNets with a 3x3 stem and no max-pooling.

Parameter names are torchvision's, so weights fit both ways; activations are out of place and no module is used twice.
"""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

from xaicli.errors import UsageError
from xaicli.signatures import Count

_WIDEST = 1024


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., 2016)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels, width, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, width, H/stride, W/stride]."""
        out: Tensor = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu2(out + (x if self.downsample is None else self.downsample(x)))
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as in torchvision) and 1x1 convolutions around a shortcut."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = _conv(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _shortcut(channels, width * self.expansion, stride)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, 4 width, H/stride, W/stride]."""
        out: Tensor = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(out)))))
        result: Tensor = self.relu3(out + (x if self.downsample is None else self.downsample(x)))
        return result


Block: TypeAlias = type[BasicBlock] | type[Bottleneck]
Depths: TypeAlias = tuple[int, int, int, int]


class ResNet(nn.Module):
    """Stem, four stages of blocks that halve the size from the second on, global average pooling, linear layer."""

    def __init__(self, block: Block, depths: Depths, classes: int, channels: int, width: int) -> None:
        super().__init__()
        if not 1 <= width <= _WIDEST:
            raise UsageError(f"a ResNet cannot have width={width}; choose 1 to {_WIDEST}.")
        self.conv1 = _conv(channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        out = block.expansion
        self.layer1 = _stage(block, depths[0], width, width, stride=1)
        self.layer2 = _stage(block, depths[1], width * out, width * 2, stride=2)
        self.layer3 = _stage(block, depths[2], width * 2 * out, width * 4, stride=2)
        self.layer4 = _stage(block, depths[3], width * 4 * out, width * 8, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width * 8 * out, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, C, H, W] -> logits [N, K]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.flatten(self.avgpool(x)))
        return logits


def resnet18_cifar(classes: int, channels: int, *, width: Count = 64) -> nn.Module:
    """ResNet-18 for small images: 3x3 stem, no max-pooling."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, channels, width)


def resnet34_cifar(classes: int, channels: int, *, width: Count = 64) -> nn.Module:
    """ResNet-34 for small images: 3x3 stem, no max-pooling."""
    return ResNet(BasicBlock, (3, 4, 6, 3), classes, channels, width)


def resnet50_cifar(classes: int, channels: int, *, width: Count = 64) -> nn.Module:
    """ResNet-50 for small images: 3x3 stem, no max-pooling."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, channels, width)


def _stage(block: Block, depth: int, channels: int, width: int, stride: int) -> nn.Sequential:
    first = block(channels, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(depth - 1)))


def _conv(channels: int, width: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, bias=False)


def _shortcut(channels: int, width: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels == width:
        return None
    return nn.Sequential(_conv(channels, width, 1, stride), nn.BatchNorm2d(width))
