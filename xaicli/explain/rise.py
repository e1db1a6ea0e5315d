"""RISE: what the model says on average when a pixel is seen through random masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from xaicli.errors import UsageError
from xaicli.explain.block import Block, Scored
from xaicli.explain.explanation import PIXELS, Measured, PixelMaps, stores
from xaicli.explain.hiding import responses
from xaicli.run.plan import forwards
from xaicli.run.random import Stream
from xaicli.signatures import Count, Share

CHUNK_PIXELS = 1 << 16  # of the masks that are held at once where no model is asked


@dataclass(frozen=True)
class Masks:
    """Random masks as the few numbers that they are made from, and the quantity of the image behind each."""

    open: Tensor  # bool [n, masks, cells, cells]
    shift: Tensor  # int64 [n, masks, 2]
    scores: Tensor  # [n, masks]


@forwards(lambda masks: masks)
def rise_scores(
    block: Block,
    prediction: Scored,
    baseline_image: Tensor,
    stream: Stream,
    *,
    masks: int = 4000,
    cells: int = 7,
    probability: float = 0.5,
) -> Masks:
    """The quantity of every row's image behind its own random masks."""
    if not 0 < probability < 1:
        raise UsageError(f"masks that are open with probability={probability:g} hide nothing or all; choose between.")
    images, side = block.images, block.images.shape[2:]
    device = images.device
    is_open = torch.as_tensor(stream.uniform((masks, cells, cells)) < probability).to(device)
    cell = torch.tensor([-(-length // cells) for length in side])
    shift = (torch.as_tensor(stream.fork("shift").uniform((masks, 2))).double() * cell).long().to(device)
    seen = images - baseline_image

    def perturb(row: int, numbers: Tensor) -> Tensor:
        mask = enlarge(is_open[row, numbers], shift[row, numbers], (side[0], side[1]), images.dtype)
        return (seen[row] * mask.unsqueeze(1)).add_(baseline_image[row])

    return Masks(is_open, shift, responses(block, prediction, masks, perturb))


def enlarge(is_open: Tensor, shift: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Masks [k, H, W] from 0 to 1: cells [k, c, c] enlarged bilinearly to one cell more than the image, then cut out.

    shift: int64 [k, 2], where to cut, less than a cell.
    """
    down, across = (
        _stretches(is_open.shape[1], length, dtype, is_open.device)[begin]
        for length, begin in zip(size, shift.unbind(1), strict=True)
    )
    return down.mT @ is_open.to(dtype) @ across


@lru_cache(maxsize=8)
def _stretches(cells: int, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One axis' enlargement as a matrix for each shift, [a cell + 1, cells, length]: two products cut a mask out."""
    cell = -(-length // cells)
    places = (torch.arange((cells + 1) * cell, dtype=torch.float64) + 0.5) * cells / ((cells + 1) * cell) - 0.5
    distance = (places.clamp(0, cells - 1).unsqueeze(1) - torch.arange(cells)).abs()
    return (1 - distance).clamp_min(0).to(dtype).to(device).unfold(0, length, 1)


def conditional_mean(
    scores: Tensor, masks: Callable[[int, int], Tensor], probability: float, chunk: int = 32
) -> tuple[Tensor, Tensor]:
    """E[f(x * M) | M shows the pixel] from the scores [masks], with its standard error, both float64 [H, W].

    masks: begin, end -> those masks [k, H, W], `chunk` at once. The scores are centred on their mean, which changes no
    expectation and takes the noise of the quantity's own level out of the map.
    """
    count = len(scores)
    level = scores.double().mean()
    centred = scores.double() - level
    first: Tensor | float = 0.0
    second: Tensor | float = 0.0
    for begin in range(0, count, chunk):
        part = masks(begin, min(begin + chunk, count)).double()
        weights = centred[begin : begin + chunk]
        first = first + torch.tensordot(weights, part, 1)
        second = second + torch.tensordot(weights.square(), part.square(), 1)
    mean, square = torch.as_tensor(first) / count, torch.as_tensor(second) / count
    # rounding may leave a variance of nothing below zero; a single mask has none
    variance = (square - mean.square()).clamp_min(0) / (count - 1) if count > 1 else torch.full_like(mean, torch.nan)
    return level + mean / probability, variance.sqrt() / probability


@stores(standard_error=PIXELS)
def rise(
    rise_scores: Masks,
    image: Tensor,
    *,
    masks: Count = 4000,
    cells: Count = 7,
    probability: Share = 0.5,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian"] = "black",
) -> Measured[PixelMaps]:
    """The mean quantity of randomly masked images in which the pixel is seen (Petsiuk et al., 2018).

    Masks have `cells` x `cells` cells, each open with `probability`, enlarged bilinearly and shifted at random; every
    image has its own. What is masked fades to `baseline`. Returns [n, 1, H, W], in units of the quantity, with the
    estimate's standard error stored beside it.
    """
    size = (image.shape[2], image.shape[3])
    chunk = max(1, CHUNK_PIXELS // (size[0] * size[1]))
    found = []
    for is_open, shift, scores in zip(rise_scores.open, rise_scores.shift, rise_scores.scores, strict=True):

        def part(begin: int, end: int, is_open: Tensor = is_open, shift: Tensor = shift) -> Tensor:
            return enlarge(is_open[begin:end], shift[begin:end], size, image.dtype)

        found.append(conditional_mean(scores, part, probability, chunk))
    maps, errors = (torch.stack(parts).unsqueeze(1).to(image) for parts in zip(*found, strict=True))
    return Measured(maps, figures={"standard_error": errors})


QUERIES = (rise_scores,)
