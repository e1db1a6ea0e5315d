"""XRAI's regions: segments of an image at several scales, ranked by how much attribution their pixels hold."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

# the authors' settings, which are meant for images of 224 pixels; lengths shrink with the side, areas with its square
SIDE = 224
SCALES = (50, 100, 150, 250, 500, 1200)
SMOOTHING = 0.8
SMALLEST = 150
DILATION = 5
LEAST_GAIN = 50

Array = npt.NDArray[Any]


def segment_masks(image: Array) -> sparse.csr_matrix:
    """Felzenszwalb's segments of an image [C, H, W] at six scales, dilated: one row of H*W booleans per segment."""
    from skimage.segmentation import felzenszwalb  # half a second that only this method needs

    ratio = max(image.shape[1:]) / SIDE
    pixels = 2 * np.moveaxis(image, 0, -1).astype(np.float64) - 1
    settings = {"sigma": SMOOTHING * ratio, "min_size": _pixels(SMALLEST, ratio), "channel_axis": -1}
    labels = [felzenszwalb(pixels, scale=scale * ratio, **settings).ravel() for scale in SCALES]
    firsts = np.cumsum([0, *(numbers.max() + 1 for numbers in labels)])
    owners = np.concatenate([numbers + first for numbers, first in zip(labels, firsts, strict=False)])
    places = np.tile(np.arange(image[0].size), len(SCALES))
    segments = sparse.csr_matrix(
        (np.ones(len(places), dtype=bool), (owners, places)), shape=(firsts[-1], image[0].size)
    )
    return segments @ _disks(image.shape[1], image.shape[2], round(DILATION * ratio))


def _pixels(area: int, ratio: float) -> int:
    return max(1, round(area * ratio * ratio))


@lru_cache(maxsize=2)
def _disks(height: int, width: int, radius: int) -> sparse.csr_matrix:
    """The disk around every pixel of an image: H*W rows of as many booleans. A product with it dilates."""
    down, across = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = np.hypot(down, across) <= radius
    rows, columns = np.mgrid[:height, :width].reshape(2, -1, 1)
    rows, columns = rows + down[inside], columns + across[inside]
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    bounds = np.cumsum([0, *within.sum(1)])
    indices = (rows * width + columns)[within]
    return sparse.csr_matrix((np.ones(len(indices), dtype=bool), indices, bounds), shape=(height * width,) * 2)


def rank_regions(relevance: Array, masks: sparse.csr_matrix, least: int) -> tuple[Array, Array]:
    """Take the mask whose new pixels hold most relevance on average, again and again, until none adds `least` pixels.

    relevance: [P]. masks: [S, P] booleans. Returns, per pixel, the mean relevance of the region it came with, and the
    region's number in the order taken (from 1); what no region covers is the last one. Both sum as `relevance` does.
    """
    number = masks.shape[0]
    columns = masks.tocsc()
    counts = np.diff(masks.indptr)
    sums = masks.astype(np.float64) @ relevance
    free = np.ones(len(relevance), dtype=bool)
    values, regions, taken = np.zeros_like(relevance), np.zeros(len(relevance), dtype=np.int64), 0
    alive = counts >= least
    while alive.any():
        best = int(np.argmax(np.where(alive, sums / np.maximum(counts, 1), -np.inf)))
        pixels = masks.indices[masks.indptr[best] : masks.indptr[best + 1]]
        new = pixels[free[pixels]]
        taken += 1
        values[new], regions[new], free[new] = relevance[new].mean(), taken, False
        holders, each = _of_columns(columns, new)
        counts = counts - np.bincount(holders, minlength=number)
        sums -= np.bincount(holders, np.repeat(relevance[new], each), minlength=number)
        alive &= counts >= least
        alive[best] = False
    if free.any():
        values[free], regions[free] = relevance[free].mean(), taken + 1
    return values, regions


def _of_columns(matrix: sparse.csc_matrix, columns: Array) -> tuple[Array, Array]:
    """The rows that these columns have entries in, column after column, and how many each has."""
    begin, each = matrix.indptr[columns], np.diff(matrix.indptr)[columns]
    return matrix.indices[np.repeat(begin - each.cumsum() + each, each) + np.arange(each.sum())], each


def ranked_map(relevance: Array, image: Array) -> tuple[Array, Array]:
    """XRAI's map and the regions' numbers [H, W], for the relevance [H, W] of the pixels of an image [C, H, W]."""
    least = _pixels(LEAST_GAIN, max(image.shape[1:]) / SIDE)
    values, regions = rank_regions(relevance.astype(np.float64).ravel(), segment_masks(image), least)
    return values.reshape(relevance.shape), regions.reshape(relevance.shape)
