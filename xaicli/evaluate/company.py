"""What generated images stand beside: what they began from, real images of their classes, the model's training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from xaicli.evaluate.statistics import Estimate, Values
from xaicli.evaluate.whole import known
from xaicli.run.once import Once

Beside: TypeAlias = Literal["made", "given", "real", "copies"]
"""One image for each that is judged: it itself, what its generation was given (a seed, or the image to invert or to
change), a test image of its class, and a training image of it."""
Split: TypeAlias = Literal["test", "training"]
"""All images of a split; of the test split, those of the classes that are judged."""
FEWEST = 2  # images that have a spread


@dataclass(frozen=True, eq=False)
class Company:
    """The root: N images that are judged together, and what stands beside them in the features of one model.

    features: of a set, float64 [N, D], NaN where there is no such image, or [m, D] of the images of a split. images:
    of a set, for some of the N rows, [n, C, H, W] in [0, 1], NaN where there is none. pieces: the training images,
    [m, C, H, W] at a time. classes: int64 [N], or the units that are shown. rows: int64 [n], those of the N in a block.
    """

    features: Callable[[Beside | Split], Tensor]
    images: Callable[[Beside, Tensor], Tensor]
    pieces: Callable[[], Iterator[Tensor]]
    classes: Tensor
    rows: Tensor
    once: Once = field(default_factory=Once)
    """Figures of all images, which all blocks have in common."""

    def everywhere(self, value: float) -> Tensor:
        """A figure of all images, as each row of the block holds it."""
        return torch.full((len(self.rows),), value, dtype=torch.float64)


def usable(features: Tensor) -> Tensor:
    """Those rows of [n, D] that are finite."""
    return features[features.isfinite().all(1)]


def of_all(values: Values) -> Estimate:
    """What the rows of a store say of a figure of all images, which each of them holds."""
    kept = values[values == values]
    return known(float(kept[0]) if len(kept) else None, len(kept))
