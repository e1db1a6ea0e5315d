"""Control maps that look at no gradient: what an explanation has to beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

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
    across = image.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).view(1, 1, 3, 3) / 8
    return torch.hypot(conv2d(grey, across), conv2d(grey, across.transpose(2, 3)))
