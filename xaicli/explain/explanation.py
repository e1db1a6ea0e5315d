"""What an attribution method returns; the annotation tells the store what to expect.

A method annotated `ChannelMaps` answers per channel of the image, `GradientMaps` with raw gradients per channel (which
metrics reduce by their absolute values), one annotated `PixelMaps` with one value per pixel (at any resolution, the
planner upsamples). `Explanation[...]` adds the gap of a method that promises a sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from torch import Tensor

ChannelMaps: TypeAlias = Tensor  # [n, C, H, W]
GradientMaps: TypeAlias = Tensor  # [n, C, H, W]
PixelMaps: TypeAlias = Tensor  # [n, 1, h, w]

M = TypeVar("M", bound=Tensor)


@dataclass(frozen=True)
class Explanation(Generic[M]):
    """Maps, and the gap sum(phi) - (f(x) - f(baseline)) [n]."""

    attribution: M
    completeness: Tensor
