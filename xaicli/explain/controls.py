"""Control maps that look at no gradient: what an explanation has to beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from xaicli.explain.explanation import PixelMaps
from xaicli.run.random import Stream


def random(image: Tensor, stream: Stream) -> PixelMaps:
    """Uniform noise: the control that ignores image and model (Adebayo et al., 2018).

    Returns [n, 1, H, W] in [0, 1).
    """
    return torch.as_tensor(stream.uniform((1, *image.shape[2:]))).to(image)


def edges(image: Tensor) -> PixelMaps:
    """Sobel edge strength of the image: the control that ignores the model (Adebayo et al., 2018).

    Returns [n, 1, H, W], non-negative: the gradient magnitude of the channel mean, edges repeated at the border.
    """
    grey = pad(image.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    # elementwise, so that an image's bits do not depend on how many come with it
    rows, columns = _smooth(grey.transpose(2, 3)).transpose(2, 3), _smooth(grey)
    down, across = rows[:, :, 2:] - rows[:, :, :-2], columns[..., 2:] - columns[..., :-2]
    return (across * across + down * down).sqrt() / 8


def constant(image: Tensor) -> PixelMaps:
    """The same everywhere: the control that says nothing, and shows what a metric gives to ties.

    Returns [n, 1, H, W], 1 at every pixel, so that any order of them is as good as any other.
    """
    return torch.ones_like(image[:, :1])


def _smooth(grey: Tensor) -> Tensor:
    """Sobel's (1, 2, 1) down the columns."""
    return grey[:, :, :-2] + 2 * grey[:, :, 1:-1] + grey[:, :, 2:]
