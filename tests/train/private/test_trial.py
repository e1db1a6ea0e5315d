"""A rule that is wrong is noticed before anything is trained with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.nets import classify
from xaicli.errors import InputError
from xaicli.models.classifier import Classifier
from xaicli.train.private import layers
from xaicli.train.private.clipped import Clipped
from xaicli.train.private.gradients import Dense, Product


def fresh() -> Classifier:
    """As networks are before training: a norm of ones, and a head of zeros, before which all gradients are zero."""
    network = nn.Sequential(nn.Conv2d(2, 8, 3), nn.GroupNorm(2, 8), nn.Tanh(), nn.Flatten(), nn.Linear(128, 3))
    classifier = classify(network, (2, 6, 6), 3, torch.float32).requires_grad_(True)
    nn.init.zeros_(network[4].weight)
    return classifier


def scaled(values: Any) -> Any:
    return None if values is None else Dense(values.multiplied() * 1.1)


WRONG: dict[str, tuple[type, Callable[..., Any]]] = {
    "a factor": (layers.Convolution, lambda right, *given: [scaled(right(*given)[0]), right(*given)[1]]),
    "no bias": (layers.Convolution, lambda right, *given: [right(*given)[0], None]),
    "the norm's own factor": (layers.Group, lambda right, *given: [scaled(right(*given)[0]), right(*given)[1]]),
    "the head": (layers.Linear, lambda right, *given: [scaled(right(*given)[0]), right(*given)[1]]),
    "another's": (
        layers.Linear,
        lambda right, *given: [Dense(right(*given)[0].multiplied().roll(1, 0)), right(*given)[1]],
    ),
}


def test_what_is_right_passes() -> None:
    Clipped(fresh(), 1.0)


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_rule_is_refused_by_name(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, wrong = WRONG[mistake]
    right = kind.gradients  # type: ignore[attr-defined]
    monkeypatch.setattr(kind, "gradients", lambda self, *given: wrong(lambda *g: right(self, *g), *given))
    with pytest.raises(InputError, match=r"has other gradients in a batch .* than image by image"):
        Clipped(fresh(), 1.0)


def test_a_sum_that_does_not_fit_its_norms_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    total = Product.total
    monkeypatch.setattr(Product, "total", lambda self, factors: total(self, 0.9 * factors))
    with pytest.raises(InputError, match=r"the layer 'network.4.weight' has other gradients"):
        Clipped(fresh(), 1.0)


def test_one_disagreement_in_three_is_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = layers.Linear.gradients, []

    def once(self: Any, *given: Any) -> Any:
        calls.append(given)
        weight, bias = right(self, *given)
        return [scaled(weight) if len(calls) == 1 else weight, bias]

    monkeypatch.setattr(layers.Linear, "gradients", once)
    Clipped(fresh(), 1.0)
    assert len(calls) == 2
