"""In what kinds of training differ: the rows of each step, and what becomes of their losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from xaicli.models.classifier import Classifier
from xaicli.train.batch import Loss
from xaicli.train.order import Order
from xaicli.train.precision import asked_in


class Gradients(Protocol):
    """Collects the gradient of one step after another, a batch in pieces that fit into memory."""

    @property
    def model(self) -> nn.Module:
        """What the recipe asks, from pixels to float32 logits; its parameters are the classifier's."""
        ...

    @property
    def copies(self) -> int:
        """How many augmented images of a row come next to each other."""
        ...

    def begin(self) -> None:
        """Put the model into training mode."""
        ...

    def add(self, loss: Loss, share: float) -> dict[str, float]:
        """Add the gradient of what the recipe returned for this share of the batch; gives the mean `loss`.

        Beside it, the means of its terms, if the recipe named any.
        """
        ...

    def finish(self, step: int) -> None:
        """Make what was collected, which may be nothing, the gradient of this step of the whole training, from 0."""
        ...

    def told(self, losses: Mapping[str, float], steps: int) -> dict[str, float]:
        """What the history says about an epoch.

        losses: the epoch's means of what `add` gave. steps: done since the first epoch.
        """
        ...


@dataclass(frozen=True)
class Way:
    """All in which kinds of training differ, beside their recipe.

    keep_last: keep the last epoch's weights, and not those of the epoch that is best on held-out data.
    """

    order: Order
    gradients: Gradients
    keep_last: bool = False


class Mean:
    """The gradient of the mean loss."""

    copies = 1

    def __init__(self, classifier: Classifier, precision: str = "float32") -> None:
        self._classifier = classifier
        self.model = asked_in(precision, classifier)

    def begin(self) -> None:
        """Put the classifier into training mode."""
        self._classifier.train()

    def add(self, loss: Loss, share: float) -> dict[str, float]:
        """Go backward through a loss that is one number, or through the sum of its terms."""
        terms = loss if isinstance(loss, Mapping) else {}
        whole = torch.stack([*terms.values()]).sum() if isinstance(loss, Mapping) else loss
        (whole * share).backward()  # type: ignore[no-untyped-call]
        return {"loss": whole.item(), **{name: term.item() for name, term in terms.items()}}

    def finish(self, step: int) -> None:
        """The gradients have been added up already."""

    def told(self, losses: Mapping[str, float], steps: int) -> dict[str, float]:
        """The mean loss and its terms."""
        return dict(losses)
