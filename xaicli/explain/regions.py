"""XRAI's regions: segments of an image at several scales, ranked by how much attribution their pixels hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.ndimage import binary_dilation, find_objects

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
    radius = round(DILATION * ratio)
    disk = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    members: list[Array] = []
    for scale in SCALES:
        labels = felzenszwalb(
            2 * np.moveaxis(image, 0, -1).astype(np.float64) - 1,
            scale=scale * ratio,
            sigma=SMOOTHING * ratio,
            min_size=_pixels(SMALLEST, ratio),
            channel_axis=-1,
        )
        members += _dilated(labels + 1, disk, radius)
    bounds = np.cumsum([0, *map(len, members)])
    ones, shape = np.ones(bounds[-1], dtype=bool), (len(members), image[0].size)
    return sparse.csr_matrix((ones, np.concatenate(members), bounds), shape=shape)


def _pixels(area: int, ratio: float) -> int:
    return max(1, round(area * ratio * ratio))


def _dilated(labels: Array, disk: Array, radius: int) -> list[Array]:
    """The numbers of every label's pixels, a disk wider; each dilated in its own corner of the image."""
    found = []
    for number, (down, across) in enumerate(find_objects(labels), start=1):
        down = slice(max(down.start - radius, 0), down.stop + radius)
        across = slice(max(across.start - radius, 0), across.stop + radius)
        inside = labels[down, across] == number
        rows, columns = np.nonzero(binary_dilation(inside, disk) if radius else inside)
        found.append((rows + down.start) * labels.shape[1] + columns + across.start)
    return found


def rank_regions(relevance: Array, masks: sparse.csr_matrix, least: int) -> tuple[Array, Array]:
    """Take the mask whose new pixels hold most relevance on average, again and again, until none adds `least` pixels.

    relevance: [P]. masks: [S, P] booleans. Returns, per pixel, the mean relevance of the region it came with, and the
    region's number in the order taken (from 1); what no region covers is the last one. Both sum as `relevance` does.
    """
    weights = masks.astype(np.float64)
    columns = weights.tocsc()
    counts = np.asarray(weights.sum(1)).ravel()
    sums = weights @ relevance
    free = np.ones(len(relevance), dtype=bool)
    values, regions, taken = np.zeros_like(relevance), np.zeros(len(relevance), dtype=np.int64), 0
    alive = counts >= least
    while alive.any():
        best = int(np.argmax(np.where(alive, sums / np.maximum(counts, 1), -np.inf)))
        pixels = masks.indices[masks.indptr[best] : masks.indptr[best + 1]]
        new = pixels[free[pixels]]
        taken += 1
        values[new], regions[new], free[new] = relevance[new].mean(), taken, False
        hit = columns[:, new]
        counts -= np.asarray(hit.sum(1)).ravel()
        sums -= hit @ relevance[new]
        alive &= counts >= least
        alive[best] = False
    if free.any():
        values[free], regions[free] = relevance[free].mean(), taken + 1
    return values, regions


def ranked_map(relevance: Array, image: Array) -> tuple[Array, Array]:
    """XRAI's map and the regions' numbers [H, W], for the relevance [H, W] of the pixels of an image [C, H, W]."""
    least = _pixels(LEAST_GAIN, max(image.shape[1:]) / SIDE)
    values, regions = rank_regions(relevance.astype(np.float64).ravel(), segment_masks(image), least)
    return values.reshape(relevance.shape), regions.reshape(relevance.shape)
