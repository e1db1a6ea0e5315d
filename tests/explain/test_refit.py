"""The refitted last layer: stationary, equal to an independent solver's, and a sum over training images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize

from xaicli.errors import InputError
from xaicli.explain import refit as module
from xaicli.explain.refit import augmented, refit


def drawn(count: int, width: int, classes: int, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """ReLU-like features, and probabilities that are not those of any linear layer."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, width, generator=generator).relu()
    logits = scale * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return features, logits.softmax(1)


def objective(weights: torch.Tensor, features: torch.Tensor, targets: torch.Tensor, penalty: float) -> torch.Tensor:
    """(1/n) sum CE + penalty * norm^2, written again."""
    x = torch.cat([features.double(), torch.ones(len(features), 1, dtype=torch.float64)], 1)
    cross_entropy = torch.nn.functional.cross_entropy(x @ weights.T, targets)
    return cross_entropy + penalty * (weights**2).sum()


@pytest.mark.parametrize("penalty", [0.003, 1.0, 1e-6])
def test_the_gradient_of_the_objective_is_zero(penalty: float) -> None:
    features, targets = drawn(200, 7, 4)
    found = refit(features, targets, penalty)
    weights = found.weights.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(weights, features, targets, penalty), weights)
    assert gradient.norm() <= 1e-9 * (2 * penalty * weights).norm()


@pytest.mark.parametrize("count", [12, 41, 90])
def test_features_may_be_wider_than_there_are_images(count: int) -> None:
    features, targets = drawn(count, 90, 4)
    found = refit(features, targets, 0.003)
    weights = found.weights.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(weights, features, targets, 0.003), weights)
    assert gradient.norm() <= 1e-9 * (0.006 * weights).norm()
    torch.testing.assert_close(found.alpha.T @ augmented(features), found.weights, rtol=1e-6, atol=1e-9)


def test_weights_are_those_of_scipy() -> None:
    features, targets = drawn(60, 5, 3)

    def asked(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.tensor(flat.reshape(3, 6), requires_grad=True)
        value = objective(weights, features, targets, 0.01)
        (gradient,) = torch.autograd.grad(value, weights)
        return value.item(), gradient.numpy().ravel()

    theirs = minimize(asked, np.zeros(18), jac=True, method="BFGS", options={"gtol": 1e-10}).x
    np.testing.assert_allclose(refit(features, targets, 0.01).weights.numpy().ravel(), theirs, atol=1e-7)


@pytest.mark.parametrize("penalty", [0.003, 1e-5])
def test_the_sum_over_training_images_is_the_layer(penalty: float) -> None:
    features, targets = drawn(300, 9, 5)
    found = refit(features, targets, penalty)
    x = augmented(features)
    assert torch.equal(x[:, -1], torch.ones(300, dtype=torch.float64)) and torch.equal(x[:, :-1], features.double())
    torch.testing.assert_close(found.alpha.T @ x, found.weights, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(x @ x.T @ found.alpha, x @ found.weights.T, rtol=1e-6, atol=1e-9)


def test_alpha_is_the_slope_of_the_loss_at_each_image() -> None:
    features, targets = drawn(50, 4, 3)
    found = refit(features, targets, 0.02)
    logits = (augmented(features) @ found.weights.T).requires_grad_()
    (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"), logits)
    torch.testing.assert_close(found.alpha, -slope / (2 * 0.02 * 50), rtol=0, atol=1e-12)


def test_two_points_by_hand() -> None:
    """Features +1 and -1 with opposite soft targets q and 1 - q: by symmetry one number w, and no bias.

    The logits of class 0 less class 1 are 2 w x, so that sigmoid(2 w) - q + 4 lambda w / 2 = 0.
    """
    q, penalty = 0.9, 0.05
    features = torch.tensor([[1.0], [-1.0]])
    targets = torch.tensor([[q, 1 - q], [1 - q, q]], dtype=torch.float64)
    # d/dw of CE = -q log s - (1 - q) log(1 - s) at s = sigmoid(2 w), plus 2 penalty w^2 for the two classes
    w = brentq(lambda w: 2 * (1 / (1 + np.exp(-2 * w)) - q) + 4 * penalty * w, 0, 10, xtol=1e-15)
    found = refit(features, targets, penalty)
    np.testing.assert_allclose(found.weights.numpy(), [[w, 0], [-w, 0]], atol=1e-10)
    s = 1 / (1 + np.exp(-2 * w))
    np.testing.assert_allclose(
        found.alpha[:, 0].numpy(), [(q - s) / (4 * penalty), (s - q) / (4 * penalty)], atol=1e-10
    )
    assert found.alpha[0, 0] - found.alpha[1, 0] == pytest.approx(w, abs=1e-10)  # sum alpha_i x_i


def test_chunks_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = drawn(100, 6, 3)
    whole = refit(features, targets, 0.003)
    monkeypatch.setattr(module, "CHUNK", 7)
    torch.testing.assert_close(refit(features, targets, 0.003).weights, whole.weights, rtol=0, atol=1e-9)


def test_what_cannot_be_made_stationary_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = drawn(100, 6, 3)
    monkeypatch.setattr(module, "MOST_STEPS", 1)
    with pytest.raises(InputError, match="use a larger one"):
        refit(features, targets, 1e-6)


def test_targets_that_say_nothing_leave_weights_of_zero() -> None:
    found = refit(torch.rand(20, 3), torch.full((20, 4), 0.25, dtype=torch.float64), 0.003)
    assert not found.weights.any() and not found.alpha.any()
