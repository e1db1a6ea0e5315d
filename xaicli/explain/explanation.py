"""What an attribution method returns; annotation and decorator tell the store what to expect.

A method annotated `ChannelMaps` answers per channel of the image, `GradientMaps` with raw gradients per channel (which
metrics reduce by their absolute values), one annotated `PixelMaps` with one value per pixel (at any resolution, the
planner upsamples). `Measured[...]` adds figures that the method declares with `@stores`, and `Explanation[...]` also
the gap of a method that promises a sum. One annotated `Found` has figures and no map; what it writes is a store of
another kind than attributions, which `@stores` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from torch import Tensor

ChannelMaps: TypeAlias = Tensor  # [n, C, H, W]
GradientMaps: TypeAlias = Tensor  # [n, C, H, W]
PixelMaps: TypeAlias = Tensor  # [n, 1, h, w]

M = TypeVar("M", bound=Tensor)
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Figure:
    """A column beside the maps: its type, and its shape by the image's (C, H, W) and the method's options.

    shape: takes `channels`, `height`, `width`, options, and what only the network knows (`units` of the option `layer`,
    `features` of the last layer, `classes`) by their names, as far as it names them; None: with these options there is
    no such column.
    """

    dtype: str
    shape: Callable[..., tuple[int, ...] | None]
    each: bool = False  # it belongs to one map, and means nothing for the mean of several


ROW = Figure("<f4", lambda: ())
"""One number a row."""
PIXELS = Figure("<f4", lambda height, width: (1, height, width))
"""One number a pixel."""
CHANNELS = Figure("<f4", lambda channels, height, width: (channels, height, width))
"""One number a channel and pixel."""
LABELS = Figure("<u2", lambda height, width: (height, width))
"""The number of the segment that a pixel belongs to."""


def stores(kind: str = "attributions", /, **figures: Figure) -> Callable[[F], F]:
    """Declare the kind of store, and the figures of a method's result; each becomes a column of that name."""

    def mark(function: F) -> F:
        function.kind, function.figures = kind, figures  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True)
class Found:
    """What a method without maps has found: the figures that it declares, each [n, *shape]."""

    figures: Mapping[str, Tensor]


@dataclass(frozen=True)
class Measured(Generic[M]):
    """Maps with the figures that the method declares, each [n, *shape]."""

    attribution: M
    figures: Mapping[str, Tensor] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Explanation(Measured[M]):
    """Maps, and the gap sum(phi) - (f(x) - f(baseline)) [n]."""

    completeness: Tensor


@dataclass(frozen=True, eq=False)
class Averaged:
    """The mean map over an uncertain model's draws, its figures and gap averaged likewise, and how far draws differ."""

    found: Measured[Tensor]
    deviation: Tensor  # as the map, of a sample (n - 1)
