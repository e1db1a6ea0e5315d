"""What weights are believed to be before any data, and how far a Gaussian posterior has moved from it, in nats."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from xaicli.errors import UsageError

_LOG_ROOT_TAU = 0.5 * math.log(2 * math.pi)


class Prior(Protocol):
    """The same distribution for every weight, independently."""

    def divergence(self, mean: Tensor, sigma: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        """KL(N(mean, sigma^2), prior) summed over all weights, one number.

        mean, sigma: of any shape, the same. draw: standard normal numbers of that shape; asked only if needed.
        """
        ...


@dataclass(frozen=True)
class Gaussian:
    """N(0, scale^2)."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        _check(scale=self.scale)

    def divergence(self, mean: Tensor, sigma: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        """The sum of log(scale/sigma) + (sigma^2 + mean^2)/(2 scale^2) - 1/2; nothing is drawn."""
        squares = (mean.square() + sigma.square()) / self.scale**2
        return (0.5 * (squares - 1) - (sigma / self.scale).log()).sum()


@dataclass(frozen=True)
class ScaleMixture:
    """share N(0, wide^2) + (1 - share) N(0, narrow^2) (Blundell et al., 2015, equation 7).

    Many weights may then be next to nothing and a few large. The defaults are in the middle of the paper's grid of
    shares 1/4, 1/2, 3/4, of -log wide 0, 1, 2 and of -log narrow 6, 7, 8.
    """

    share: float = 0.5
    wide: float = math.exp(-1)
    narrow: float = math.exp(-7)

    def __post_init__(self) -> None:
        _check(wide=self.wide, narrow=self.narrow)
        if not 0 < self.share < 1:
            raise UsageError(f"a mixture cannot have a share of {self.share:g}; choose one between 0 and 1.")

    def divergence(self, mean: Tensor, sigma: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        """Log q(w) - log p(w) at one drawn w = mean + sigma e: the divergence has no closed form, this is unbiased."""
        noise = draw()
        own = -0.5 * noise.square() - sigma.log() - _LOG_ROOT_TAU
        return (own - self.log_density(mean + sigma * noise)).sum()

    def log_density(self, weights: Tensor) -> Tensor:
        """Log p(w), of the shape of w; finite wherever w is."""
        wide = math.log(self.share) + _log_normal(weights, self.wide)
        narrow = math.log1p(-self.share) + _log_normal(weights, self.narrow)
        return torch.logaddexp(wide, narrow)


def _log_normal(weights: Tensor, scale: float) -> Tensor:
    return -0.5 * (weights / scale).square() - math.log(scale) - _LOG_ROOT_TAU


def _check(**scales: float) -> None:
    for name, scale in scales.items():
        if not 0 < scale < math.inf:
            raise UsageError(f"a prior cannot have {name}={scale:g}; choose a finite number > 0.")
