"""Images that stand for the absence of evidence."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from xaicli.run.random import Stream


def make_baseline(name: str, images: Tensor, stream: Stream) -> Tensor:
    """The baseline of each image [n, C, H, W] in [0, 1].

    `mean` is the image's own mean colour, `blur` a Gaussian of sigma max(1, 5*side/224), `uniform` uniform noise,
    `gaussian` the image plus N(0, 0.5^2) clipped to [0, 1], `salt-pepper` pixels that are black or white by a fair
    coin.
    """
    shape = images.shape[1:]
    if name == "black":
        return torch.zeros_like(images)
    if name == "white":
        return torch.ones_like(images)
    if name == "mean":
        return images.mean((2, 3), keepdim=True).expand_as(images).contiguous()
    if name == "blur":
        return gaussian_blur(images, blur_sigma(images))
    if name == "uniform":
        return torch.as_tensor(stream.uniform(shape)).to(images)
    if name == "gaussian":
        return (images + 0.5 * torch.as_tensor(stream.normal(shape)).to(images)).clamp(0, 1)
    if name == "salt-pepper":
        coins = torch.as_tensor(stream.uniform((1, *shape[1:]))).to(images)
        return (coins < 0.5).to(images).expand_as(images).contiguous()
    raise ValueError(f"unknown baseline {name}")


def blur_sigma(images: Tensor) -> float:
    """Width of the blur that removes detail: 5 pixels at 224 (Petsiuk et al., 2018), at least 1."""
    return max(1.0, 5.0 * max(images.shape[2:]) / 224.0)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur, truncated at four sigma, edges repeated."""
    radius = math.ceil(4 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    across = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    wide = conv2d(pad(images, (radius, radius, 0, 0), mode="replicate"), across, groups=channels)
    return conv2d(pad(wide, (0, 0, radius, radius), mode="replicate"), down, groups=channels)
