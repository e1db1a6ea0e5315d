"""The last layer, fitted again until nothing pulls it any more: then its weights are a sum over training images.

With soft targets p (the network's own probabilities) and x the features with a constant 1, the objective
(1/n) sum CE(p_i, T x_i) + lambda norm(T)^2 is strictly convex. Where its gradient is zero,
T = sum alpha_i x_i with alpha_i = (p_i - s_i) / (2 lambda n), s_i its own probabilities (Yeh et al., 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.errors import InputError

CHUNK = 8192  # rows that are held in double precision at a time
MOST_STEPS = 100
_ENOUGH = 1e-11  # gradient over its two parts, which are equal and opposite at the end
_GOOD = 1e-5  # above this the sum over training images is not the layer
_HOPELESS = 1e-14  # of the objective; smaller decreases drown in its rounding
_SLOPE = 1e-4  # Armijo's


@dataclass(frozen=True)
class Refit:
    """The refitted layer and what each training image contributes to it."""

    weights: Tensor  # float64 [K, D + 1], the bias last
    alpha: Tensor  # float64 [n, K]


def refit(features: Tensor, targets: Tensor, regularisation: float) -> Refit:
    """Minimise the objective in double precision by Newton's method with conjugate gradients.

    features: [n, D]. targets: probabilities, float64 [n, K]. regularisation: lambda. Raises InputError when no
    stationary point is reached, as with a lambda that is too small for the numbers.
    """
    if len(features) > features.shape[1]:
        return _minimised(_Objective(features, augmented, targets, regularisation))
    # the solution lies in the span of so few images: it is found in as many coordinates
    axes, coordinates = torch.linalg.qr(augmented(features).T)
    found = _minimised(_Objective(coordinates.T, lambda points: points, targets, regularisation))
    return Refit(found.weights @ axes.T, found.alpha)


def augmented(features: Tensor) -> Tensor:
    """Features [n, D] with a constant 1 behind them, float64 [n, D + 1]."""
    return torch.cat([features.double(), features.new_ones(len(features), 1, dtype=torch.float64)], dim=1)


def _minimised(objective: _Objective) -> Refit:
    weights = torch.zeros(objective.shape, dtype=torch.float64)
    value, gradient, scale = objective.at(weights)
    for _ in range(MOST_STEPS):
        if gradient.norm() <= _ENOUGH * scale:
            break
        step = _conjugate_gradients(objective.curved, objective.preconditioned, gradient)
        slope, length = float((gradient * step).sum()), 1.0
        before = gradient.norm()
        while True:
            tried = weights + length * step
            value_there, gradient, scale = objective.at(tried)
            flat = -slope <= _HOPELESS * abs(value)
            if flat or value_there <= value + _SLOPE * length * slope or length < 1e-6:
                break
            length /= 2
        weights, value = tried, value_there
        if flat and gradient.norm() >= before:
            break
    if not gradient.norm() <= _GOOD * scale:
        raise InputError(
            f"the last layer cannot be refitted: with regularisation={objective.regularisation:g} the gradient stays "
            f"at {float(gradient.norm() / scale):.1g} of its parts; use a larger one."
        )
    return Refit(weights, objective.alpha)


class _Objective:
    """The objective, its gradient, and products with its Hessian at the point last asked about; sums run in chunks.

    points: turns features into what the weights are multiplied with, float64 [rows, width].
    """

    def __init__(
        self, features: Tensor, points: Callable[[Tensor], Tensor], targets: Tensor, regularisation: float
    ) -> None:
        self._features, self._points, self._targets, self.regularisation = features, points, targets, regularisation
        self._probabilities = torch.full_like(targets, 1 / targets.shape[1])
        width = points(features[:1]).shape[1]
        self.shape = targets.shape[1], width
        moment = torch.zeros(width, width, dtype=torch.float64)
        for _, x in self._chunks():
            moment += x.T @ x
        self._variances, self._axes = torch.linalg.eigh(moment / len(features))
        self._curvature = torch.zeros(targets.shape[1], 1, dtype=torch.float64)

    @property
    def alpha(self) -> Tensor:
        """What each image contributes to the weights at the point last asked about, [n, K]."""
        return (self._targets - self._probabilities) / (2 * self.regularisation * len(self._targets))

    def at(self, weights: Tensor) -> tuple[float, Tensor, float]:
        """Value, gradient [K, D + 1], and the norm of the penalty's part of it, for weights [K, D + 1]."""
        count, loss = len(self._targets), 0.0
        gradient = torch.zeros_like(weights)
        for rows, x in self._chunks():
            logs = (x @ weights.T).log_softmax(1)
            loss -= float((self._targets[rows] * logs).sum()) / count
            self._probabilities[rows] = logs.exp_()
            gradient += (self._probabilities[rows] - self._targets[rows]).T @ x
        self._curvature = (self._probabilities * (1 - self._probabilities)).mean(0).unsqueeze(1)
        data, penalty = gradient / count, 2 * self.regularisation * weights
        value = loss + self.regularisation * float(weights.square().sum())
        return value, data + penalty, max(float(penalty.norm()), float(data.norm()))

    def curved(self, direction: Tensor) -> Tensor:
        """The Hessian times a direction [K, D + 1]."""
        total = torch.zeros_like(direction)
        for rows, x in self._chunks():
            s, u = self._probabilities[rows], x @ direction.T
            total += (s * (u - (s * u).sum(1, keepdim=True))).T @ x
        return total / len(self._targets) + 2 * self.regularisation * direction

    def preconditioned(self, residual: Tensor) -> Tensor:
        """What the residual would take if every image had the mean curvature of each class, and classes were apart."""
        inside = residual @ self._axes / (self._curvature * self._variances + 2 * self.regularisation)
        step: Tensor = inside @ self._axes.T
        return step

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(self._features), CHUNK):
            rows = slice(start, start + CHUNK)
            yield rows, self._points(self._features[rows])


def _conjugate_gradients(
    curved: Callable[[Tensor], Tensor], preconditioned: Callable[[Tensor], Tensor], gradient: Tensor
) -> Tensor:
    """Newton's step, solved the more exactly the smaller the gradient is (Dembo and Steihaug, 1983)."""
    step, residual = torch.zeros_like(gradient), -gradient
    ahead = preconditioned(residual)
    direction, strength = ahead, float((residual * ahead).sum())
    enough = min(0.1, strength**0.5) ** 2 * strength
    for _ in range(gradient.numel()):
        bent = curved(direction)
        length = strength / float((direction * bent).sum())
        step, residual = step + length * direction, residual - length * bent
        ahead = preconditioned(residual)
        strength, before = float((residual * ahead).sum()), strength
        if strength <= enough:
            break
        direction = ahead + strength / before * direction
    return step
