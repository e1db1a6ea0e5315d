"""Accuracy, robust accuracy and perturbation sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import linear, small_net, some_images


def test_accuracy_counts_and_leaves_unknown_labels_out() -> None:
    w = torch.tensor([1.0, -1.0], dtype=torch.float64).view(2, 1, 1, 1)
    net = linear(w)  # class 0 for positive pixels, class 1 for negative ones
    images = torch.tensor([0.5, -0.5, 0.2, -0.1], dtype=torch.float64).view(4, 1, 1, 1)
    answers = answers_of(net, images, labels=torch.tensor([0, 0, 65535, 1]))
    for metric in ("accuracy", "robust-accuracy"):
        assert value(metric, answers) == pytest.approx([1, 0, np.nan, 1], nan_ok=True)


def ssim_of_wang(a: np.ndarray, b: np.ndarray) -> float:
    """Eq. 13 of Wang et al. (2004) in 11x11 windows that fit into the image, one channel."""
    at = np.arange(-5, 6)
    window = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for row in range(a.shape[0] - 10):
        for column in range(a.shape[1] - 10):
            x, y = a[row : row + 11, column : column + 11], b[row : row + 11, column : column + 11]
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            c1, c2 = 0.01**2, 0.03**2
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_perturbation_against_formulas() -> None:
    net = small_net(side=14)
    clean = some_images(3, net)
    image = (clean + 0.1 * (some_images(3, net, seed=2) - 0.5)).clamp(0, 1)
    image[2] = clean[2]
    found = ask("perturbation", answers_of(net, image, clean=clean))
    delta = (image - clean).numpy()
    assert found["perturbation"] == pytest.approx([np.sqrt((d**2).sum()) for d in delta], abs=1e-14)
    assert found["perturbation-linf"] == pytest.approx([np.abs(d).max() for d in delta], abs=1e-15)
    psnr = [
        peak_signal_noise_ratio(c.numpy(), i.numpy(), data_range=1) for c, i in zip(clean[:2], image[:2], strict=True)
    ]
    assert found["perturbation-psnr"] == pytest.approx([*psnr, np.nan], abs=1e-10, nan_ok=True)
    ssim = [
        np.mean([ssim_of_wang(c, i) for c, i in zip(*pair, strict=True)])
        for pair in zip(clean.numpy(), image.numpy(), strict=True)
    ]
    assert found["perturbation-ssim"] == pytest.approx(ssim, abs=1e-10)
    assert found["perturbation-ssim"][2] == pytest.approx(1, abs=1e-12)


def test_ssim_needs_its_window() -> None:
    net = small_net(side=10)
    clean = some_images(1, net)
    assert np.isnan(ask("perturbation", answers_of(net, clean, clean=clean))["perturbation-ssim"]).all()
