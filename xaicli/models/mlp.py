"""A multilayer perceptron: the network without any notion of places, for comparison and for small images."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from math import prod

from torch import nn

from xaicli.errors import UsageError
from xaicli.signatures import Count

_WIDEST = 1 << 16
_DEEPEST = 64


def mlp(classes: int, channels: int, size: tuple[int, int], *, hidden: tuple[Count, ...] = (512, 512)) -> nn.Module:
    """Linear layers with ReLUs between them on the flattened image of this height and width.

    hidden: widths of the hidden layers, `hidden=512,256`. The layers are called fc1, fc2, ...; 1,841,162 parameters for
    3x32x32 images and 10 classes. It has no layer with a spatial map, so no class activation maps either.
    """
    if not 1 <= len(hidden) <= _DEEPEST or not all(type(width) is int and 1 <= width <= _WIDEST for width in hidden):
        raise UsageError(
            f"an mlp cannot have hidden={','.join(map(str, hidden))}; choose 1 to {_DEEPEST} widths of 1 to {_WIDEST}."
        )
    widths = [channels * prod(size), *hidden]
    modules: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, (before, after) in enumerate(pairwise(widths), start=1):
        linear = nn.Linear(before, after)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        modules |= {f"fc{number}": linear, f"relu{number}": nn.ReLU()}
    modules[f"fc{len(widths)}"] = nn.Linear(widths[-1], classes)
    return nn.Sequential(modules)
