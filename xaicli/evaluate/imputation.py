"""Noisy linear imputation: removed pixels look like their neighbours (Rong et al., 2022)."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

WEIGHTS = {(0, 1): 1 / 6, (1, -1): 1 / 12, (1, 0): 1 / 6, (1, 1): 1 / 12}
"""The paper's weights of the neighbours that come later (down, across); the opposite ones weigh the same."""


def impute(image: Array, removed: Array) -> Array:
    """The removed pixels [C, M] when each is the weighted mean of its eight neighbours, kept or removed.

    image: [C, H, W]; removed: booleans [H, W], not all of them true. The linear system is solved exactly, in float64.
    """
    from scipy.linalg import solveh_banded

    row = removed.shape[1] + 2
    places = np.flatnonzero(_framed(removed))
    numbers = np.full((removed.shape[0] + 2) * row, -1)
    numbers[places] = np.arange(len(places))
    kept = _framed(np.where(removed, 0, image.astype(np.float64))).reshape(len(image), -1)
    known = np.zeros((len(image), len(places)))
    links = []
    for (down, across), weight in WEIGHTS.items():
        offset = down * row + across
        known += weight * (kept[:, places + offset] + kept[:, places - offset])
        later = numbers[places + offset]
        linked = np.flatnonzero(later >= 0)
        links.append((later[linked] - linked, linked, -weight))
    bands = np.zeros((1 + max(int(apart.max(initial=0)) for apart, _, _ in links), len(places)))
    bands[0] = _weights(removed.shape)[removed]
    for apart, linked, weight in links:
        bands[apart, linked] = weight
    solved = solveh_banded(bands, known.T, lower=True, overwrite_ab=True, overwrite_b=True, check_finite=False)
    return np.asarray(solved).T


def _framed(values: Array) -> Array:
    """Arrays [..., H, W] with zeros around them, so that every pixel has eight neighbours."""
    height, width = values.shape[-2:]
    framed: Array = np.zeros((*values.shape[:-2], height + 2, width + 2), dtype=values.dtype)
    framed[..., 1:-1, 1:-1] = values
    return framed


@cache
def _weights(shape: tuple[int, int]) -> Array:
    """The sum of the weights of every pixel's neighbours inside the image, [H, W]."""
    inside = _framed(np.ones(shape))
    total = np.zeros(shape)
    for (down, across), weight in WEIGHTS.items():
        for y, x in ((1 + down, 1 + across), (1 - down, 1 - across)):
            total += weight * inside[y : y + shape[0], x : x + shape[1]]
    return total
