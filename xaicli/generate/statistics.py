"""What images of the user's own data look like as such: their colours, and how much of every frequency they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = 1e-6  # of the largest variance: a direction in which the data's colours do not vary at all

Batches = Callable[[], Iterator[Tensor]]


@dataclass(frozen=True)
class Statistics:
    """Of images [C, H, W]; all tensors are float64."""

    size: tuple[int, int]
    mean: Tensor
    """[C], the mean colour."""
    mixing: Tensor
    """[C, C]: colours that do not correlate, each of variance 1, into deviations from the mean colour."""
    magnitude: Tensor
    """[C, H, W/2 + 1], the mean magnitude of the images' Fourier coefficients in those colours."""


def measure(batches: Batches) -> Statistics:
    """The statistics of all images [n, C, H, W] that the batches hold; they are gone through twice."""
    mean, covariance = _moments(batches())
    variances, directions = torch.linalg.eigh(covariance)
    directions = directions * torch.where(directions.sum(0) < 0, -1.0, 1.0)  # brighter is positive
    mixing = directions * variances.clamp_min(max(SMALLEST * float(variances[-1]), 1e-12)).sqrt()
    unmixing = torch.linalg.inv(mixing)
    total, count, size = torch.zeros(()).double(), 0, (0, 0)
    for images in batches():
        deviations = images.double() - mean.view(1, -1, 1, 1)
        colours = torch.einsum("dc,nchw->ndhw", unmixing, deviations)
        total = total + torch.fft.rfft2(colours).abs().sum(0)
        count, size = count + len(images), (images.shape[2], images.shape[3])
    return Statistics(size, mean, mixing, total / count)


def _moments(batches: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean [C] and covariance [C, C] of all pixels."""
    total, squares, count = torch.zeros(()).double(), torch.zeros(()).double(), 0
    for images in batches:
        pixels = images.double().transpose(0, 1).flatten(1)
        total, squares, count = total + pixels.sum(1), squares + pixels @ pixels.T, count + pixels.shape[1]
    mean = total / count
    return mean, squares / count - torch.outer(mean, mean)
