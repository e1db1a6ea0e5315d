"""Images that stand for the absence of evidence.

Only elementwise arithmetic and sums in double precision: an image's bits must not depend on how many come with it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from xaicli.run.random import Stream

RANDOM = ("uniform", "gaussian", "data")
"""Baselines that differ from draw to draw; `data` is drawn by the query, not here."""


def make_baseline(name: str, images: Tensor, stream: Stream) -> Tensor:
    """The baseline of each image [n, C, H, W] in [0, 1].

    `mean` is the image's own mean colour, `blur` a Gaussian of sigma max(1, 5*side/224), `uniform` uniform noise,
    `gaussian` the image plus N(0, 0.5^2) clipped to [0, 1], `salt-pepper` pixels that are black or white by a fair
    coin, `inverse` 1 - x, `road` the mean colour and N(0, 0.01^2): what noisy linear imputation leaves of an image of
    which nothing is known (Rong et al., 2022).
    """
    shape = images.shape[1:]
    if name == "black":
        return torch.zeros_like(images)
    if name == "white":
        return torch.ones_like(images)
    if name == "mean":
        return images.double().mean((2, 3), keepdim=True).to(images).expand_as(images).contiguous()
    if name == "blur":
        return gaussian_blur(images, blur_sigma(images))
    if name == "uniform":
        return torch.as_tensor(stream.uniform(shape)).to(images)
    if name == "gaussian":
        return (images + 0.5 * torch.as_tensor(stream.normal(shape)).to(images)).clamp(0, 1)
    if name == "salt-pepper":
        coins = torch.as_tensor(stream.uniform((1, *shape[1:]))).to(images)
        return (coins < 0.5).to(images).expand_as(images).contiguous()
    if name == "inverse":
        return 1 - images
    if name == "road":
        return make_baseline("mean", images, stream) + 0.01 * torch.as_tensor(stream.normal(shape)).to(images)
    raise ValueError(f"unknown baseline {name}")


def blur_sigma(images: Tensor) -> float:
    """Width of the blur that removes detail: 5 pixels at 224 (Petsiuk et al., 2018), at least 1."""
    return max(1.0, 5.0 * max(images.shape[2:]) / 224.0)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur, truncated at four sigma, edges repeated."""
    radius = math.ceil(4 * sigma)
    taps = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    height, width = images.shape[2:]
    wide = pad(images, (radius, radius, 0, 0), mode="replicate")
    blurred = _weighted([wide[..., k : k + width] for k in range(len(taps))], taps)
    tall = pad(blurred, (0, 0, radius, radius), mode="replicate")
    return _weighted([tall[..., k : k + height, :] for k in range(len(taps))], taps)


def blur_matrix(side: int, sigma: float) -> Tensor:
    """The same blur of one axis as a matrix, float64 [side, side]: quicker where sigma is large."""
    if sigma == 0:
        return torch.eye(side, dtype=torch.float64)
    radius = math.ceil(4 * sigma)
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    taken = (torch.arange(side).unsqueeze(1) + offsets).clamp(0, side - 1)  # edges repeated
    return torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, taken, (taps / taps.sum()).expand(side, -1))


def _weighted(parts: list[Tensor], weights: list[float]) -> Tensor:
    """The weighted mean of several tensors."""
    total = torch.zeros_like(parts[0])
    for part, weight in zip(parts, weights, strict=True):
        total += part * (weight / sum(weights))
    return total
