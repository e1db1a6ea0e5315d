"""A map's channels as one value per pixel."""

from __future__ import annotations

from torch import Tensor

REDUCTIONS = ("auto", "sum", "abs-sum", "max")


def reduce_maps(maps: Tensor, how: str) -> Tensor:
    """Maps [n, C, H, W] as one value per pixel [n, H, W]: the channels' sum, sum of absolute values, or maximum.

    What is no number counts as 0, and what is infinite as the largest number: such rows are not ok.
    """
    maps = maps.nan_to_num()
    if how == "abs-sum":
        return maps.abs().sum(1)
    return maps.amax(1) if how == "max" else maps.sum(1)
