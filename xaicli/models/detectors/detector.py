"""What an open-set detector is. The one sign of them all: the higher a score, the more known the row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar, Self, get_origin, get_type_hints

import torch
from torch import Tensor


def arrays_of(kind: type[Detector]) -> dict[str, tuple[str, ...]]:
    """The names and shapes of what a fit finds: the fields that are annotated with one.

    K and D are the numbers of classes and of features, another letter a number that is this detector's own.
    """
    hints = get_type_hints(kind, include_extras=True)
    found = {item.name: hints[item.name] for item in fields(kind)}
    return {name: hint.__metadata__[0] for name, hint in found.items() if get_origin(hint) is Annotated}


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector(ABC):
    """A fitted detector: arrays that a fit has found, and those of the method's options that scores depend on.

    needs_features: False where scores depend on the logits alone.
    """

    needs_features: ClassVar[bool] = True

    @abstractmethod
    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """One score for each row, float64 [n], higher is more known; differentiable.

        features: what the last layer is given, [n, D]. logits: what it makes of them, [n, K]. A matrix product's bits
        depend on the number of rows, so ask for as many at a time as the network is asked for.
        """

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in arrays_of(type(self))})
