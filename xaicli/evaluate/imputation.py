"""Noisy linear imputation: removed pixels look like their neighbours (Rong et al., 2022)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

WEIGHTS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}
"""The paper's weights of half of the neighbours (down, across); the opposite ones weigh the same."""

Array = npt.NDArray[Any]


def impute(image: Array, removed: Array) -> Array:
    """The removed pixels [C, M] when each is the weighted mean of its eight neighbours, kept or removed.

    image: [C, H, W]; removed: booleans [H, W], not all of them true. The linear system is solved exactly, in float64.
    """
    from scipy.linalg import solveh_banded

    numbers = np.cumsum(removed).reshape(removed.shape) - 1
    known = _neighbours(np.where(removed, 0, image.astype(np.float64)))[:, removed]
    pairs = [(*_pairs(removed, numbers, offset), weight) for offset, weight in WEIGHTS.items()]
    width = max((int((second - first).max()) for first, second, _ in pairs if len(first)), default=0)
    bands = np.zeros((width + 1, known.shape[1]))
    bands[0] = _weights(removed.shape)[removed]
    for first, second, weight in pairs:
        bands[second - first, first] = -weight
    solved = solveh_banded(bands, known.T, lower=True, overwrite_ab=True, overwrite_b=True, check_finite=False)
    return np.asarray(solved).T


@cache
def _weights(shape: tuple[int, int]) -> Array:
    """The sum of the weights of every pixel's neighbours."""
    return _neighbours(np.ones(shape))


def _neighbours(values: Array) -> Array:
    """The weighted sum of every pixel's neighbours inside the image, [..., H, W]."""
    height, width = values.shape[-2:]
    wide = np.zeros((*values.shape[:-2], height + 2, width + 2))
    wide[..., 1:-1, 1:-1] = values
    total = np.zeros_like(values)
    for (down, across), weight in WEIGHTS.items():
        for y, x in ((1 + down, 1 + across), (1 - down, 1 - across)):
            total += weight * wide[..., y : y + height, x : x + width]
    return total


def _pairs(removed: Array, numbers: Array, offset: tuple[int, int]) -> tuple[Array, Array]:
    """The numbers of removed pixels and of those at an offset from them that are removed, too."""
    down, across = offset
    height, width = removed.shape
    here = np.s_[: height - down, max(-across, 0) : width - max(across, 0)]
    there = np.s_[down:, max(across, 0) : width - max(-across, 0)]
    both = removed[here] & removed[there]
    return numbers[here][both], numbers[there][both]
