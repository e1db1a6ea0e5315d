"""Superpixels: connected, bounded in number, and sums that survive being spread over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from xaicli.explain.superpixels import merge, padded, paint, segment, segment_means, spread


def photo(channels: int, side: int) -> np.ndarray:
    """A bright disk on a gradient."""
    y, x = np.mgrid[:side, :side] / side
    disk = (x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06
    return np.stack([0.3 * x + 0.6 * disk + 0.1 * k * y for k in range(channels)])


@pytest.mark.parametrize("algorithm", ["slic", "quickshift"])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("side", [6, 32])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_segments_are_connected_numbered_and_few(algorithm: str, channels: int, side: int, noise: float) -> None:
    image = photo(channels, side) + noise * np.random.default_rng(0).random((channels, side, side))
    labels = segment(image, 20, algorithm)
    assert labels.shape == (side, side) and np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() < 20
    assert all(label(labels == number)[1] == 1 for number in range(labels.max() + 1))
    assert np.array_equal(labels, segment(image, 20, algorithm))


def test_slic_finds_the_edge_and_even_noise_has_parts() -> None:
    image = photo(3, 32)
    labels = segment(image, 50, "slic")
    inside = image[0] > 0.6
    shares = np.array([inside[labels == number].mean() for number in range(labels.max() + 1)])
    assert labels.max() >= 25
    assert np.minimum(shares, 1 - shares).max() < 0.35  # no segment lies half in the disk
    assert segment(np.random.default_rng(1).random((3, 32, 32)), 50, "slic").max() >= 10


def test_the_smallest_segment_joins_its_longest_border() -> None:
    labels = np.array([[3, 3, 3, 9], [3, 3, 3, 5], [7, 7, 5, 5]])
    # 9 (1 pixel) touches 3 and 5 once each: the smaller number; 7 (2 pixels) touches 3 twice and 5 once
    assert merge(labels, 3).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [2, 2, 1, 1]]
    assert merge(labels, 2).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]]
    assert merge(labels, 4, least=3).tolist() == merge(labels, 2).tolist()
    assert merge(labels, 4).tolist() == [[0, 0, 0, 3], [0, 0, 0, 1], [2, 2, 1, 1]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), most=st.integers(1, 12), least=st.integers(0, 9))
def test_merging_keeps_both_bounds_and_only_unites(seed: int, most: int, least: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, (6, 7))
    pieces = np.arange(42).reshape(6, 7) if seed % 2 else labels
    merged = merge(pieces, most, least)
    sizes = np.bincount(merged.ravel())
    assert len(sizes) <= most and (sizes.min() >= least or len(sizes) == 1)
    for number in np.unique(pieces):
        assert len(np.unique(merged[pieces == number])) == 1


def test_values_are_painted_or_spread() -> None:
    labels = torch.tensor([[[0, 0, 1], [2, 2, 2]], [[0, 0, 0], [0, 1, 1]]])
    values = padded([torch.tensor([4.0, 5.0, 6.0]), torch.tensor([8.0, -2.0])], 4, labels)
    assert paint(values, labels)[:, 0].tolist() == [[[4, 4, 5], [6, 6, 6]], [[8, 8, 8], [8, -2, -2]]]
    assert spread(values, labels)[:, 0].tolist() == [[[2, 2, 5], [2, 2, 2]], [[2, 2, 2], [2, -1, -1]]]
    images = torch.arange(12.0).view(2, 1, 2, 3)
    assert segment_means(images, labels)[:, 0].tolist() == [
        [[0.5, 0.5, 2], [4, 4, 4]],
        [[7.5, 7.5, 7.5], [7.5, 10.5, 10.5]],
    ]
