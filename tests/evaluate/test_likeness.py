"""How alike two maps are, against scipy, scikit-image and a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from xaicli.evaluate.likeness import likeness, overlap

DRAWS = torch.Generator().manual_seed(2)
MAPS = torch.randn(5, 13, 17, generator=DRAWS, dtype=torch.float64).round(decimals=1)  # ties
OTHERS = (MAPS + torch.randn(5, 13, 17, generator=DRAWS, dtype=torch.float64)).round(decimals=1)


def test_rank_correlation_is_scipys() -> None:
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(MAPS.numpy(), OTHERS.numpy(), strict=True)]
    assert likeness(MAPS, OTHERS).spearman.numpy() == pytest.approx(expected, abs=1e-12)


def test_structural_similarity_is_that_of_maps_scaled_to_one() -> None:
    def scaled(values: np.ndarray) -> np.ndarray:
        return (values - values.min()) / np.ptp(values)

    wang = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        structural_similarity(scaled(a), scaled(b), **wang) for a, b in zip(MAPS.numpy(), OTHERS.numpy(), strict=True)
    ]
    assert likeness(MAPS, OTHERS).ssim.numpy() == pytest.approx(expected, abs=1e-12)


def test_equal_maps_and_constant_ones() -> None:
    same = likeness(MAPS, 3 * MAPS + 1)
    assert same.spearman.numpy() == pytest.approx(np.ones(5), abs=1e-14)
    assert same.ssim.numpy() == pytest.approx(np.ones(5), abs=1e-12)
    assert likeness(MAPS, -MAPS).spearman.numpy() == pytest.approx(-np.ones(5), abs=1e-14)
    flat = likeness(MAPS, torch.full_like(MAPS, 0.1))
    assert flat.spearman.isnan().all() and flat.ssim.isnan().all()
    assert likeness(MAPS[:, :10], OTHERS[:, :10]).ssim.isnan().all()  # the window has eleven rows


def test_overlap_counts_the_pixels_that_both_have_first() -> None:
    first = torch.tensor([[4, 2, 0, 1, 3], [0, 1, 2, 3, 4]])
    second = torch.tensor([[2, 3, 4, 0, 1], [3, 4, 2, 1, 0]])
    assert overlap(first, second, 0.4).tolist() == [0.5, 0.0]
    assert overlap(first, second, 0.6).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert overlap(first, second, 1.0).tolist() == [1.0, 1.0]
    assert overlap(first, first, 0.0).tolist() == [1.0, 1.0]  # at least one pixel
