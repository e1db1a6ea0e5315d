"""Detectors that need the logits alone, and no fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaicli.models.detectors.detector import Detector
from xaicli.signatures import Positive


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxProbability(Detector):
    """The largest probability, in (0, 1]; 1 for all rows that are surer than a double can say."""

    needs_features: ClassVar[bool] = False
    temperature: float

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """Of logits over temperature."""
        return (logits.double() / self.temperature).softmax(1).amax(1)


def msp(*, temperature: Positive = 1.0) -> MaxProbability:
    """The largest softmax probability (Hendrycks and Gimpel, 2017).

    temperature: what logits are divided by. No fit. In (0, 1], and 1 for every row that is surer than a double can say.
    """
    return MaxProbability(temperature=temperature)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxLogit(Detector):
    """The largest logit."""

    needs_features: ClassVar[bool] = False

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """In the logits' own unit."""
        return logits.double().amax(1)


def max_logit() -> MaxLogit:
    """The largest logit (Hendrycks et al., 2022).

    No fit. In the logits' own unit, so that unlike a probability it never saturates.
    """
    return MaxLogit()


@dataclass(frozen=True, kw_only=True, eq=False)
class Energy(Detector):
    """T log sum exp(logits / T): the negative of what the paper calls the energy."""

    needs_features: ClassVar[bool] = False
    temperature: float

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """In the logits' own unit."""
        return energy_of(logits, self.temperature)


def energy(*, temperature: Positive = 1.0) -> Energy:
    """The negative free energy of the logits (Liu et al., 2020).

    temperature T: the score is T log sum exp(logits / T), in the logits' own unit. No fit.
    """
    return Energy(temperature=temperature)


def energy_of(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T log sum exp(logits / T) of logits [n, K], float64 [n]."""
    return temperature * (logits.double() / temperature).logsumexp(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Entropy(Detector):
    """The negative entropy of the probabilities, in nats, from -log K to 0."""

    needs_features: ClassVar[bool] = False

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """Sum of p log p."""
        logs = logits.double().log_softmax(1)
        return (logs.exp() * logs).sum(1)


def entropy() -> Entropy:
    """The negative entropy of the predicted probabilities (Chan et al., 2021).

    No fit. In nats, from -log K to 0; of an uncertain checkpoint it is that of the mean prediction.
    """
    return Entropy()
