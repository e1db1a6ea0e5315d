"""VGG-16 for small images (Simonyan and Zisserman, 2015), with BatchNorm behind the ReLU instead of before it.

So a stage ends in normalised activations that can be negative, and the biases of the convolutions are not redundant.
Parameters are as many as in the usual order (14,728,266 for 3 channels and 10 classes).
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from xaicli.errors import UsageError
from xaicli.signatures import Count

_WIDEST = 1024
_STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""Channels of the 13 convolutions, in multiples of the width."""


def vgg16_cifar(classes: int, channels: int, *, width: Count = 64) -> nn.Module:
    """Five stages of 3x3 convolution, ReLU and BatchNorm, each followed by max-pooling, then one linear layer.

    width: channels of the first stage. The stages are called stage1 to stage5; the last sees 2x2 places of a 32x32
    image. Sizes that 32 does not divide are rounded up when they are halved, so that 28x28 images fit as well.
    """
    if not 1 <= width <= _WIDEST:
        raise UsageError(f"a VGG cannot have width={width}; choose 1 to {_WIDEST}.")
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    current = channels
    for number, multiples in enumerate(_STAGES, start=1):
        widths = [width * multiple for multiple in multiples]
        modules[f"stage{number}"] = _stage(current, widths)
        modules[f"pool{number}"] = nn.MaxPool2d(2, ceil_mode=True)
        current = widths[-1]
    modules["avgpool"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    modules["fc"] = nn.Linear(current, classes)
    return nn.Sequential(modules)


def _stage(channels: int, widths: list[int]) -> nn.Sequential:
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, after) in enumerate(zip([channels, *widths], widths, strict=False), start=1):
        conv = nn.Conv2d(before, after, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        modules |= {f"conv{number}": conv, f"relu{number}": nn.ReLU(), f"norm{number}": nn.BatchNorm2d(after)}
    return nn.Sequential(modules)
