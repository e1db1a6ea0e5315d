"""Metrics of models and of attacked images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.evaluate.scores import Hits, Scores, reports


def accuracy(logits: Tensor, labels: Tensor) -> Hits:
    """Share of images whose true class has the largest logit, higher is better.

    Undefined for rows without a true class.
    """
    return Hits(right(logits, labels))


def robust_accuracy(logits: Tensor, labels: Tensor) -> Hits:
    """Accuracy on attacked images, higher is better (Madry et al., 2018).

    Images that were wrong before the attack count as errors. Over several stores of one checkpoint the worst case of
    each row counts.
    """
    return Hits(right(logits, labels))


SSIM_WINDOW = 11  # pixels of the Gaussian window, sigma 1.5


@reports(parts=("linf", "psnr", "ssim"))
def perturbation(image: Tensor, clean: Tensor) -> Scores:
    """Size of the change in l2, with linf, PSNR and SSIM beside it; neither is better (Wang et al., 2004).

    In pixel values of [0, 1]; PSNR in dB, undefined for an unchanged image; SSIM in a Gaussian window of sigma 1.5,
    undefined for images smaller than its 11 pixels.
    """
    delta = (image - clean).double().flatten(1)
    error = delta.square().mean(1)
    psnr = torch.where(error > 0, -10 * torch.log10(error.clamp_min(1e-30)), torch.nan)
    ssim = torch.tensor([_ssim(a, b) for a, b in zip(_array(image), _array(clean), strict=True)], dtype=torch.float64)
    return Scores(delta.norm(dim=1), {"linf": delta.abs().amax(1), "psnr": psnr, "ssim": ssim})


def _array(images: Tensor) -> npt.NDArray[np.float64]:
    array: npt.NDArray[np.float64] = images.double().cpu().numpy()
    return array


def _ssim(image: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    from skimage.metrics import structural_similarity

    if min(image.shape[1:]) < SSIM_WINDOW:
        return float("nan")
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(image, other, channel_axis=0, data_range=1.0, **wang))


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """1 where a row's class has the largest logit, else 0, [n]; NaN for a row without a class."""
    found = (logits.argmax(1) == labels).double()
    return torch.where(labels < logits.shape[1], found, torch.nan)
