"""LRP against zennit, on networks where zennit conserves: plain ones, and ResNets by its epsilon rule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from zennit.composites import LayerMapComposite, SpecialFirstLayerMapComposite
from zennit.core import Composite
from zennit.layer import Sum
from zennit.rules import AlphaBeta, Epsilon, Gamma, Norm, Pass, ZBox, ZPlus
from zennit.torchvision import ResNetCanonizer
from zennit.types import Activation, AvgPool, Convolution, Linear

from tests.explain.test_lrp import draw, lrp_rules, ready
from xaicli.explain.relevance import Walk
from xaicli.models.canonical import canonical

TINY = {"stabilizer": 1e-12}
WEIGHTED = (Convolution, Linear)
THEIRS: dict[str, Composite] = {
    "epsilon": LayerMapComposite([(Activation, Pass()), (AvgPool, Norm(**TINY)), (WEIGHTED, Epsilon(1e-12))]),
    "gamma": LayerMapComposite([(Activation, Pass()), (AvgPool, Norm(**TINY)), (WEIGHTED, Gamma(0.25, **TINY))]),
    "z-plus": LayerMapComposite(
        [(Activation, Pass()), (AvgPool, Norm(**TINY)), (WEIGHTED, ZPlus(zero_params="bias", **TINY))]
    ),
    "alpha-beta": LayerMapComposite(
        [
            (Activation, Pass()),
            (AvgPool, Norm(**TINY)),
            (WEIGHTED, AlphaBeta(2.0, 1.0, zero_params="bias", **TINY)),
        ]
    ),
    "composite": SpecialFirstLayerMapComposite(
        [
            (Activation, Pass()),
            (AvgPool, Norm(**TINY)),
            (Convolution, AlphaBeta(1.0, 0.0, zero_params="bias", **TINY)),
            (Linear, Epsilon(1e-12, zero_params="bias")),
        ],
        [(Convolution, ZBox(-2.0, 2.0, **TINY))],
    ),
}


def plain() -> nn.Module:
    """As VGG is built; without padding, so that no output lacks contributions of a sign: zennit loses those."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return ready(
            nn.Sequential(
                *(nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(24, 32, 3, groups=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
                *(nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 4)),
            )
        )


def theirs(composite: Composite, network: nn.Module, x: Tensor, start: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    with composite.context(network) as prepared:
        (relevance,) = torch.autograd.grad(prepared(x), x, start)
    return relevance


@pytest.mark.parametrize("rule", THEIRS)
def test_the_rules_on_a_plain_network(rule: str) -> None:
    network = plain()
    x = draw(3, 3, 16, 16).clamp(-2, 2)
    ends = tuple(torch.full((1, 3, 1, 1), end, dtype=torch.float64) for end in (-2.0, 2.0))
    walk = Walk(canonical(network, x), x, lrp_rules(rule, 1e-14), ends)
    start = walk.logits.clone()
    *_, last = walk.back(start)
    expected = theirs(THEIRS[rule], network, x, start)
    assert expected.abs().amax() > 1e-5
    error = (last.held[walk.image] - expected).abs().amax() / expected.abs().amax()
    assert error.item() < 1e-8


def test_epsilon_on_a_resnet_whose_batch_norms_they_merge() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(8)
        network = models.resnet18(num_classes=4)
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.eps = 0.0  # they divide by sqrt(1 + eps) once more
            for value in (norm.running_mean, norm.bias):
                value.data.normal_(std=0.2)
            for value in (norm.running_var, norm.weight):
                value.data.uniform_(0.7, 1.3)
    x = draw(2, 3, 40, 40)
    walk = Walk(canonical(ready(network), x), x, lrp_rules("epsilon", 1e-15))
    start = walk.logits.clone()
    *_, last = walk.back(start)
    composite = LayerMapComposite([*THEIRS["epsilon"].layer_map, (Sum, Norm(**TINY))], canonizers=[ResNetCanonizer()])
    expected = theirs(composite, network, x, start)
    error = (last.held[walk.image] - expected).abs().amax() / expected.abs().amax()
    assert error.item() < 1e-8
