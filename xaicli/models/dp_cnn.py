"""The small convolutional network on which private training is usually compared: two convolutions, two dense layers.

It is the network of Opacus' MNIST example (26,010 parameters for 1x28x28 images and 10 classes); with bounded
activations it is that of Papernot et al. (2021), "Tempered sigmoid activations for deep learning with differential
privacy".
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from xaicli.errors import UsageError
from xaicli.signatures import Count

_SMALLEST = 14  # whose last map is 1x1
_WIDEST = 1024
_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def dp_cnn(
    classes: int,
    channels: int,
    size: tuple[int, int],
    *,
    width: Count = 16,
    activation: Literal["relu", "tanh"] = "relu",
) -> nn.Module:
    """Convolutions of 8x8 and 4x4 with stride 2 and max-pooling behind each, a hidden layer of 32 units; no norms.

    width: channels of the first convolution, and half of the second's. activation: `tanh` clips what reaches the next
    layer, and so gradients, which often helps under much noise.
    """
    if min(size) < _SMALLEST or not 1 <= width <= _WIDEST or activation not in _ACTIVATIONS:
        raise UsageError(
            f"a dp-cnn cannot take {size[0]}x{size[1]} images with width={width} and activation={activation}; choose a "
            f"side of at least {_SMALLEST}, a width of 1 to {_WIDEST}, and one of {', '.join(_ACTIVATIONS)}."
        )
    act = _ACTIVATIONS[activation]
    height, across = ((side // 2 - 3) // 2 - 1 for side in size)  # of the last map
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, width, 8, stride=2, padding=3),
            act1=act(),
            pool1=nn.MaxPool2d(2, 1),
            conv2=nn.Conv2d(width, 2 * width, 4, stride=2),
            act2=act(),
            pool2=nn.MaxPool2d(2, 1),
            flatten=nn.Flatten(),
            fc1=nn.Linear(2 * width * height * across, 32),
            act3=act(),
            fc2=nn.Linear(32, classes),
        )
    )
