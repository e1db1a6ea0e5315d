"""Detectors that hold the features of each class for normally distributed around its mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.models.detectors.detector import Detector
from xaicli.signatures import NonNegative


@dataclass(frozen=True, kw_only=True, eq=False)
class Mahalanobis(Detector):
    """Minus the squared distance to the nearest class mean, in units of the covariance that all classes share."""

    means: Annotated[Tensor, ("K", "D")]
    whitening: Annotated[Tensor, ("D", "D")]

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """At most 0, which is a class mean."""
        return -_squared(features, self.means, self.whitening).amin(1)


def mahalanobis(features: Tensor, logits: Tensor, labels: Tensor, *, ridge: NonNegative = 1e-6) -> Mahalanobis:
    """Distance to the nearest class mean under one covariance for all classes (Lee et al., 2018).

    `ridge` times the mean variance is added to every variance, for features that are always off or of which there are
    more than rows. Raises InputError where a class has no row or the covariance is singular all the same.
    """
    means = _class_means(features, labels, logits.shape[1])
    return Mahalanobis(means=means, whitening=_whitening(features.double() - means[labels], ridge))


@dataclass(frozen=True, kw_only=True, eq=False)
class RelativeMahalanobis(Detector):
    """How much nearer a row is to a class than to all rows taken for one class."""

    means: Annotated[Tensor, ("K", "D")]
    whitening: Annotated[Tensor, ("D", "D")]
    centre: Annotated[Tensor, ("D",)]
    background: Annotated[Tensor, ("D", "D")]

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The background's squared distance less that of the nearest class mean."""
        nearest = _squared(features, self.means, self.whitening).amin(1)
        return _squared(features, self.centre.unsqueeze(0), self.background).squeeze(1) - nearest


def relative_mahalanobis(
    features: Tensor, logits: Tensor, labels: Tensor, *, ridge: NonNegative = 1e-6
) -> RelativeMahalanobis:
    """Mahalanobis less the distance under a single normal distribution of all rows (Ren et al., 2021).

    `ridge` as for mahalanobis, which it shares the classes' part with.
    """
    classes = mahalanobis(features, logits, labels, ridge=ridge)
    centre = features.double().mean(0)
    background = _whitening(features.double() - centre, ridge)
    return RelativeMahalanobis(means=classes.means, whitening=classes.whitening, centre=centre, background=background)


def _class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    counts = labels.bincount(minlength=classes)
    if not counts.all():
        raise InputError(
            f"class {int(counts.argmin())} has no known row to take the mean of; fit the detector on more rows."
        )
    sums = features.new_zeros(classes, features.shape[1], dtype=torch.float64)
    return sums.index_add_(0, labels, features.double()) / counts.unsqueeze(1)


def _whitening(centred: Tensor, ridge: float) -> Tensor:
    """The inverse of the covariance's Cholesky factor: what it makes of a row has the distance for its norm."""
    covariance = centred.T @ centred / len(centred)
    covariance.diagonal().add_(ridge * covariance.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:
        raise InputError(
            "the covariance of the known rows' features is singular; give the detector a ridge, as the default is, "
            "or other rows: these may all be equal."
        )
    whitening: Tensor = torch.linalg.solve_triangular(factor, torch.eye(len(factor)).to(factor), upper=False)
    return whitening.contiguous()  # as a checkpoint gives it back: a product's bits depend on the order in memory


def _squared(features: Tensor, means: Tensor, whitening: Tensor) -> Tensor:
    """Squared distances [n, K] of features [n, D] to means [K, D]."""
    whitened = features.double() @ whitening.T
    # by differences: sums of squares would lose the small distances of features that are far from zero
    return torch.cdist(whitened, means @ whitening.T, compute_mode="donot_use_mm_for_euclid_dist").square()
