"""An attack of torchattacks as a description: importing it imports nothing of the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xaicli.errors import UsageError

Cost = Callable[[int, int], int]
RADIUS = ("eps", "max_epsilon", "pixels")


@dataclass(frozen=True)
class Borrowed:
    """One attack of the library with its options, and what is known of it beforehand."""

    library: str  # its class there
    norm: str  # of the distance that is stored: linf, l2, l1, or l0, the number of pixels changed
    eps: float | None
    options: Mapping[str, Any]
    cost: Cost  # (values of an image, classes) -> the most images it asks about for one
    towards: str | None = None
    channels: int | None = None  # it takes only images of so many
    square: bool = False  # it takes height for width
    fewest_classes: int = 2
    most_values: int | None = None

    @property
    def looks_for_border(self) -> bool:
        """Whether it has no radius and moves all pixels, so that it stops as soon as the border is crossed."""
        return self.eps is None and self.norm != "l0"

    def refuse(self, shape: tuple[int, int, int], classes: int) -> None:
        """UsageError for images or classes that the library cannot work on, though it may not say so."""
        values = shape[0] * shape[1] * shape[2]
        if self.channels not in (None, shape[0]):
            raise UsageError(
                f"torchattacks' {self.library} takes images of {self.channels} channels, and these have {shape[0]}; "
                "use another attack, such as mifgsm."
            )
        if self.square and shape[1] != shape[2]:
            raise UsageError(
                f"torchattacks' {self.library} takes square images, and these are {shape[1]}x{shape[2]}; "
                "use another attack, such as mifgsm."
            )
        if classes < self.fewest_classes:
            raise UsageError(
                f"torchattacks' {self.library} needs {self.fewest_classes} classes, and this model has {classes}; "
                "use another loss or attack, such as pgd."
            )
        if self.most_values is not None and values > self.most_values:
            raise UsageError(
                f"torchattacks' {self.library} compares all pairs of an image's {values} values, which takes "
                f"{values**2 * 4 >> 30} GiB for each of several tables; use another attack, such as sparsefool."
            )


def borrow(
    library: str,
    norm: str,
    cost: int | Cost,
    /,
    *,
    towards: str = "none",
    **options: Any,
) -> Borrowed:
    """The description of one attack; its radius is told by the option that the library names so."""
    eps = next((float(options[name]) for name in RADIUS if name in options), None)
    asked: Cost = (lambda _values, _classes: cost) if isinstance(cost, int) else cost
    return Borrowed(library, norm, eps, options, asked, None if towards == "none" else towards)
