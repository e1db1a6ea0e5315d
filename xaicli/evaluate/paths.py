"""Images between an image and its baseline: which cells are replaced in the order of a map, and what by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.evaluate.cells import cut
from xaicli.evaluate.imputation import impute
from xaicli.explain.superpixels import segment
from xaicli.run.random import Stream

Array: TypeAlias = npt.NDArray[Any]
Fill: TypeAlias = Callable[[int, Tensor, Tensor], None]
"""Writes the images [k, C, H, W] of a row whose first `limit` [k, 1, 1, 1] cells are removed, or kept."""


@dataclass(frozen=True)
class Ranks:
    """Where each pixel's cell stands in the order, 0 for the most relevant one."""

    places: Tensor  # [n, H, W], whole numbers in the images' type
    cells: Tensor  # int64 [n], how many there are


def shuffle(image: Tensor, stream: Stream) -> Tensor:
    """A seeded permutation of each row's pixels, [n, pixels]: the same for all explainers."""
    draws = stream.uniform(image.shape[2:]).reshape(len(image), -1)
    return torch.as_tensor(np.argsort(draws, axis=1, kind="stable")).to(image.device)


def order(attribution: Tensor, shuffle: Tensor) -> Tensor:
    """Pixels from the most to the least relevant, [n, pixels]; ties are broken by the permutation."""
    ranked = attribution.flatten(1).gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    return shuffle.gather(1, ranked)


def pieces(image: Tensor, *, grid: int | None = None, segments: int | None = None) -> Tensor | None:
    """The number of the cell that each pixel belongs to, int64 [n, H * W]; None where every pixel is one.

    grid: so many patches along each side, equal up to a pixel. segments: instead, at most so many SLIC superpixels.
    """
    if segments is not None:
        found = [segment(row, segments, "slic").ravel() for row in image.double().nan_to_num().cpu().numpy()]
        return torch.as_tensor(np.stack(found)).to(image.device)
    return cut(image, grid).places.expand(len(image), -1) if grid is not None else None


def ranks(
    image: Tensor, attribution: Tensor, order: Tensor, shuffle: Tensor, pieces: Tensor | None, *, pool: str = "sum"
) -> Ranks:
    """Cells from the most to the least relevant by the sum (or mean) of their pixels; ties as those of pixels."""
    if pieces is None:
        numbers = torch.arange(order.shape[1], device=order.device)
        places = torch.empty_like(order).scatter_(1, order, numbers.expand_as(order))
        count = torch.full((len(order),), order.shape[1], device=order.device)
    else:
        found = [
            _places(*row, pool=pool)
            for row in zip(*(part.flatten(1).cpu().numpy() for part in (attribution, pieces, shuffle)), strict=True)
        ]
        places = torch.as_tensor(np.stack(found)).to(order.device)
        count = places.amax(1) + 1
    return Ranks(places.to(image).view(len(image), *image.shape[2:]), count)  # far below 2^24


def _places(values: Array, pieces: Array, shuffle: Array, *, pool: str) -> Array:
    """Where each pixel's cell stands, [pixels]."""
    relevance: Array = np.bincount(pieces, values.astype(np.float64))
    if pool == "mean":
        relevance = relevance / np.bincount(pieces)
    mixed = shuffle[shuffle < len(relevance)]
    ranked = mixed[np.argsort(-relevance[mixed], kind="stable")]
    places: Array = np.empty_like(ranked)
    places[ranked] = np.arange(len(ranked))
    return places[pieces]


def removed(image: Tensor, places: Tensor, baseline_image: Tensor, baseline: str) -> Fill:
    """Images without their first cells."""
    if baseline == "road":
        return _imputed(image, baseline_image, lambda row, limit: places[row] < limit)
    return _blended(image, baseline_image, places)


def kept(image: Tensor, places: Tensor, baseline_image: Tensor, baseline: str) -> Fill:
    """Images of nothing but their first cells."""
    if baseline == "road":
        return _imputed(image, baseline_image, lambda row, limit: places[row] >= limit)
    return _blended(baseline_image, image, places)


def _blended(start: Tensor, end: Tensor, places: Tensor) -> Fill:
    def fill(row: int, limit: Tensor, images: Tensor) -> None:
        replaced = (limit - places[row]).clamp_(0, 1)  # 1 where the place is below the limit, else 0
        torch.lerp(start[row], end[row], replaced, out=images)  # exact at 0 and 1, faster than where

    return fill


def _imputed(image: Tensor, left: Tensor, is_removed: Callable[[int, Tensor], Tensor]) -> Fill:
    """Removed pixels deviate from what is `left` without any, the mean colour and noise, as their neighbours do."""
    images, lefts = image.double().cpu().numpy(), left.double().cpu().numpy()

    def fill(row: int, limit: Tensor, batch: Tensor) -> None:
        masks = is_removed(row, limit).squeeze(1).cpu().numpy()
        deviation = images[row] - images[row].mean((1, 2), keepdims=True)
        shown = np.repeat(images[row : row + 1], len(masks), axis=0)
        for one, mask in zip(shown, masks, strict=True):
            if mask.any():
                one[:, mask] = lefts[row][:, mask] + (0 if mask.all() else impute(deviation, mask))
        batch.copy_(torch.as_tensor(shown))

    return fill


QUERIES = (shuffle, order, pieces, ranks)
