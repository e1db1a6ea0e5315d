"""Clipped gradients of whole architectures, our own and torchvision's, against one backward per sample."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.families import FAMILIES, lively, named, ours
from tests.nets import classify
from tests.train.private.one_by_one import errors
from xaicli.models.classifier import Classifier
from xaicli.models.group_norm import group_norms
from xaicli.models.load import lay_out

OURS = [
    "cnn",
    "mlp:hidden=16",
    "resnet18-cifar:width=8",
    "resnet50-cifar:width=4",
    "vgg16-cifar:width=4",
    "wrn-16-4:widen=1",
    "dp-cnn",
    "dp-cnn:activation=tanh",
]
HUGE = ("alexnet", "vgg11_bn")  # whose dense layers do not fit into a test sample by sample
ALIKE = ("wide_resnet50_2", "cnn", "mlp", "resnet18-cifar", "vgg16-cifar")  # tested above, or of the same layers


def prepared(network: nn.Module, size: int) -> Classifier:
    """With GroupNorm, norms that are not fresh, and channels last, as it is trained."""
    group_norms(network)
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return lay_out(classify(network, (3, size, size), 5), "cpu").requires_grad_(True)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("arch", OURS)
def test_ours(arch: str, copies: int) -> None:
    torch.manual_seed(0)
    assert max(errors(prepared(ours(arch)(), 32), copies=copies)) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in (*HUGE, *ALIKE)])
def test_torchvisions_and_timms(family: str) -> None:
    network, size = lively(family)
    assert max(errors(prepared(network, size))) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE)
def test_those_with_large_dense_layers_behind_a_smaller_pooling(name: str) -> None:
    torch.manual_seed(0)
    network = named(name)()
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    width = 256 if name == "alexnet" else 512
    network.classifier = nn.Sequential(nn.Linear(width, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 5))
    assert max(errors(prepared(network, 64))) < 1e-9
