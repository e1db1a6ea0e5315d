"""Layers with Gaussian weights: every output's mean and variance, and what a draw belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaicli.errors import InputError
from xaicli.models.bayesian import plain, to_mean_field
from xaicli.models.mean_field import MeanField, drawing, mean_field_layers, rho_of
from xaicli.models.wide_resnet import StandardisedConv2d
from xaicli.run.posterior import noise_of
from xaicli.run.random import Stream

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 3), (5,)),
    "linear without a bias, on tokens": (lambda: nn.Linear(5, 3, bias=False), (4, 5)),
    "convolution": (lambda: nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 5, 6)),
    "standardised convolution": (lambda: StandardisedConv2d(2, 3, 3, stride=2), (2, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, padding="same", groups=4, bias=False), (4, 3, 3)),
}


def layer_of(kind: str, seed: int = 0) -> tuple[nn.Sequential, MeanField, tuple[int, ...]]:
    """A network of one layer with deviations that differ from weight to weight, and the shape of its rows."""
    torch.manual_seed(seed)
    make, shape = LAYERS[kind]
    network = nn.Sequential(make()).double()
    to_mean_field(network)
    layer = network[0]
    for rho in (layer.weight_rho, layer.bias_rho):
        if rho is not None:
            nn.init.uniform_(rho, -3, 1)
    return network, layer, shape


def numbers(rows: int, seed: int = 0) -> Callable[[str, Sequence[int]], Tensor]:
    """Noise that any of its names asks for anew."""
    generator = torch.Generator().manual_seed(seed)
    return lambda name, shape: torch.randn(rows, *shape, generator=generator, dtype=torch.float64)


def moments(layer: MeanField, row: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the output for one row [1, ...]: it is linear in the weights, with this Jacobian."""
    parts = layer.posterior()
    means = tuple(mean.detach() for mean, _ in parts.values())
    bias = () if "bias" in parts else (None,)
    slopes = torch.func.jacrev(lambda *own: layer.apply_weights(row, *own, *bias), tuple(range(len(means))))(*means)
    out = layer.apply_weights(row, *means, *bias)
    mean, variance = torch.zeros_like(out), torch.zeros_like(out)
    for slope, (centre, sigma) in zip(slopes, parts.values(), strict=True):
        flat = slope.flatten(out.dim())
        mean = mean + flat @ centre.detach().flatten()
        variance = variance + flat.square() @ sigma.detach().square().flatten()
    return mean, variance


@pytest.mark.parametrize("kind", LAYERS)
def test_outputs_are_drawn_with_the_mean_and_variance_that_gaussian_weights_give_them(kind: str) -> None:
    network, layer, shape = layer_of(kind)
    rows = torch.randn(3, *shape, dtype=torch.float64)
    given = numbers(3)("", layer(rows).shape[1:])
    with drawing(network, lambda name, shape: given), torch.no_grad():
        drawn = network(rows)
    for row, found, noise in zip(rows, drawn, given, strict=True):
        mean, variance = moments(layer, row[None])
        torch.testing.assert_close(network(row[None]), mean, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(found[None], mean + variance.sqrt() * noise, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_drawn_outputs_and_drawn_weights_have_the_same_moments(kind: str) -> None:
    """Within five standard errors, over 2,000 draws of each."""
    network, layer, shape = layer_of(kind, seed=1)
    row, draws = torch.randn(1, *shape, dtype=torch.float64), 2000
    mean, variance = moments(layer, row)
    with torch.no_grad():
        with drawing(network, numbers(draws, seed=1)):
            outputs = network(row.expand(draws, *shape))
        noise = numbers(1, seed=2)
        weights = torch.cat([plain(network, noise)(row) for _ in range(draws)])
    for found in (outputs, weights):
        assert ((found.mean(0, keepdim=True) - mean).abs() < 5 * (variance / draws).sqrt()).all()
        assert ((found.var(0, keepdim=True) / variance - 1).abs() < 5 * math.sqrt(2 / draws)).all()


def test_a_row_draws_the_same_whatever_rows_are_beside_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)).double()
    to_mean_field(network, sigma=0.3)
    images = torch.randn(5, 1, 4, 4, dtype=torch.float64)

    def logits(rows: list[int], seed: int = 0, stream: str = "posterior:0") -> Tensor:
        with drawing(network, noise_of(Stream(seed, stream, tuple(rows)), images)), torch.no_grad():
            return network(images[rows])

    alone = torch.cat([logits([row]) for row in range(5)])
    torch.testing.assert_close(logits([3, 0, 4, 1]), alone[[3, 0, 4, 1]], atol=1e-12, rtol=1e-12)
    for other in (logits([0], seed=1), logits([0], stream="posterior:1"), network(images[:1])):
        assert (other - alone[0]).abs().min() > 1e-3


def test_draws_differ_between_layers_and_between_calls_and_come_back_on_entering_again() -> None:
    shared = nn.Linear(4, 4)
    network = nn.Sequential(shared, nn.Linear(4, 4), shared)
    to_mean_field(network)
    asked: list[str] = []

    def noise(name: str, shape: Sequence[int]) -> Tensor:
        asked.append(name)
        return torch.zeros(2, *shape)

    for _ in range(2):
        with drawing(nn.Sequential(network), noise):  # a wrapper changes no name
            network(torch.ones(2, 4))
            network(torch.ones(2, 4))
    once = ["layer:0", "layer:1", "layer:0:2", "layer:0:3", "layer:1:2", "layer:0:4"]
    assert asked == 2 * once


def test_nothing_is_drawn_outside_even_after_an_error() -> None:
    network, layer, _ = layer_of("linear")
    with pytest.raises(ZeroDivisionError), drawing(network, numbers(1)):
        _ = 1 / 0
    assert layer.drawn is None
    with drawing(network, numbers(1)):
        outer = layer.drawn
        with drawing(network, numbers(1, seed=3)):
            assert layer.drawn is not outer
        assert layer.drawn is outer


def test_means_are_the_ordinary_layer_in_either_mode() -> None:
    for kind, (make, shape) in LAYERS.items():
        ordinary = make()
        network = nn.Sequential(make())
        network[0].load_state_dict(ordinary.state_dict())
        to_mean_field(network)
        rows = torch.randn(2, *shape)
        for training in (True, False):
            assert torch.equal(network.train(training)(rows), ordinary(rows)), kind


def test_more_rows_than_images_are_refused() -> None:
    network, _, _ = layer_of("linear")
    with drawing(network, numbers(2)), pytest.raises(InputError, match="2 images and is asked about 8 rows"):
        network(torch.zeros(8, 5, dtype=torch.float64))


def test_slopes_of_a_dark_row_are_finite() -> None:
    """A convolution without a bias has no variance where its patch is zero, and the root's slope there is infinite."""
    network, layer, shape = layer_of("depthwise")
    with drawing(network, numbers(1)):
        out = network(torch.zeros(1, *shape, dtype=torch.float64))
    assert out.abs().max() < 1e-150
    out.sum().backward()
    assert layer.weight_rho.grad is not None and torch.equal(layer.weight_rho.grad, torch.zeros_like(layer.weight_rho))


@pytest.mark.parametrize("sigma", [1e-6, 0.01, 1.0, 40.0])
def test_softplus_of_rho_is_sigma(sigma: float) -> None:
    assert np.logaddexp(0, rho_of(sigma)) == pytest.approx(sigma, rel=1e-9)


def test_a_layer_in_two_places_is_one_layer() -> None:
    shared = nn.Linear(4, 4)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    assert to_mean_field(network) == ["0"]
    assert network[0] is network[2]
    assert len(mean_field_layers(network)) == 1
