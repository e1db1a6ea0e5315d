"""The way of private training: independent batches, and gradients clipped row by row, added up and hidden in noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from xaicli.models.classifier import Classifier
from xaicli.train.batch import Loss
from xaicli.train.private.budget import Budget
from xaicli.train.private.clipped import Clipped
from xaicli.train.private.secret import Secret


@dataclass(frozen=True)
class Poisson:
    """Every step draws every row with the same probability, whatever else it draws: a batch may have no row at all."""

    budget: Budget
    secret: Secret

    @property
    def epochs(self) -> int:
        """How many there are; where the budget ends the training, the last is shorter."""
        return math.ceil(self.budget.steps / self.budget.per_epoch)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.budget.steps

    @property
    def drawn(self) -> int:
        """The expected number of rows of the whole training."""
        return self.budget.steps * self.budget.batch_size

    @property
    def largest(self) -> int:
        """All rows, although hardly ever."""
        return self.budget.rows

    def before(self, epoch: int) -> int:
        """The steps of all epochs before this one."""
        return min((epoch - 1) * self.budget.per_epoch, self.budget.steps)

    def batches(self, epoch: int, first: int) -> Iterator[NDArray[np.int64]]:
        """The positions of each step's rows, from the step `first` of the epoch on."""
        for step in range(self.before(epoch) + first, self.before(epoch + 1)):
            yield self.secret.rows(step, self.budget.rows, self.budget.sample_rate)


class Noisy:
    """(1/B) (sum of the rows' clipped gradients + sigma C N(0, 1)), B being the expected and not the actual number.

    A row's gradient is the mean over its copies.
    """

    def __init__(self, classifier: Classifier, budget: Budget, secret: Secret, copies: int = 1) -> None:
        self._clipped = Clipped(classifier, budget.max_grad_norm, copies)
        self._budget, self._secret = budget, secret
        self._weights = {name: weight for name, weight in classifier.named_parameters() if weight.requires_grad}
        self.copies = copies

    @property
    def model(self) -> nn.Module:
        """The canonical form of the classifier: no dropout, BatchNorm in eval mode."""
        return self._clipped.model

    def begin(self) -> None:
        """Put the model into training mode."""
        self.model.train()

    def add(self, loss: Loss, share: float) -> dict[str, float]:
        """Add the clipped gradients of the rows whose losses, one an image, are given."""
        assert isinstance(loss, Tensor)
        self._clipped.add(loss)
        return {"loss": loss.mean().item()}

    def finish(self, step: int) -> None:
        """Add the noise, also to nothing: that a batch was empty must not show."""
        scale = self._budget.noise_multiplier * self._budget.max_grad_norm
        for name, weight in self._weights.items():
            noise = scale * self._secret.normal(step, name, weight)
            weight.grad = (noise if weight.grad is None else weight.grad + noise) / self._budget.batch_size

    def told(self, losses: Mapping[str, float], steps: int) -> dict[str, float]:
        """Epsilon so far, if there is any; never the loss, which is a figure of the rows without noise."""
        epsilon = self._budget.after(steps)
        return {"epsilon": epsilon} if math.isfinite(epsilon) else {}
