"""Metrics of models and of attacked images."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.scores import Hits, Scores, reports


def accuracy(logits: Tensor, labels: Tensor) -> Hits:
    """Share of images whose true class has the largest logit, higher is better.

    Undefined for rows without a true class.
    """
    return Hits(_right(logits, labels))


def robust_accuracy(logits: Tensor, labels: Tensor) -> Hits:
    """Accuracy on attacked images, higher is better (Madry et al., 2018).

    Images that were wrong before the attack count as errors. Over several stores of one checkpoint the worst case of
    each row counts.
    """
    return Hits(_right(logits, labels))


@reports(parts=("linf", "psnr", "ssim"))
def perturbation(image: Tensor, clean: Tensor) -> Scores:
    """Size of the change: the l2 norm, with the linf norm, PSNR and SSIM beside it (Wang et al., 2004).

    In pixel values of [0, 1]; PSNR in dB. PSNR is undefined for an unchanged image.
    """
    from skimage.metrics import structural_similarity

    delta = (image - clean).double().flatten(1)
    error = delta.square().mean(1)
    psnr = torch.where(error > 0, -10 * torch.log10(error.clamp_min(1e-30)), torch.nan)
    pairs = zip(image.cpu().numpy(), clean.cpu().numpy(), strict=True)
    ssim = [structural_similarity(a, b, channel_axis=0, data_range=1.0) for a, b in pairs]
    parts = {"linf": delta.abs().amax(1), "psnr": psnr, "ssim": torch.tensor(ssim, dtype=torch.float64)}
    return Scores(delta.norm(dim=1), parts)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    right = (logits.argmax(1) == labels).double()
    return torch.where(labels < logits.shape[1], right, torch.nan)
