"""A map as its method made it, for the metrics that look at more than one value a pixel."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Signed:
    """The maps of one explainer before their channels are reduced, and what is known of them."""

    values: Tensor  # [n, C or 1, H, W]
    is_gradient: bool = False  # raw gradients, which do not carry the factor (x - b)
    gap: Tensor | None = None  # [n], the completeness gap that the method itself has stored

    def effects(self, change: Tensor) -> Tensor:
        """What the map says that each pixel's `change` [n, C, H, W] is worth, float64 [n, H, W].

        change: x - b. A map with that factor in it says so itself, a raw gradient when it is multiplied.
        """
        values = self.values.double()
        return (values * change.double()).sum(1) if self.is_gradient else values.sum(1)

    def total(self) -> Tensor:
        """The sum of each map, float64 [n]."""
        return self.values.double().sum((1, 2, 3))
