"""A network's last layer: the linear one whose outputs are the logits and whose inputs are the penultimate features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from xaicli.errors import InputError
from xaicli.models.classifier import Classifier

_AGREEMENT = 1e-5  # of the largest logit, in float32


@dataclass(frozen=True, eq=False)
class Head:
    """The last layer, its name in the network and the number of its inputs."""

    name: str
    layer: nn.Linear

    @property
    def width(self) -> int:
        """The number of features D."""
        return self.layer.in_features


def find_head(classifier: Classifier) -> Head:
    """The linear layer that makes the logits; looked for with noise, so the network should be in evaluation mode.

    Raises InputError for a network whose logits are made otherwise, such as by a convolution or from several layers.
    """
    noise = torch.randn(2, *classifier.shape, generator=torch.Generator().manual_seed(0)).to(classifier.mean)
    found: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            found.append((module, inputs[0], output))

    linears = [module for module in classifier.network.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(hook) for module in linears]
    try:
        with torch.no_grad():
            logits = classifier.network(noise)
    finally:
        for handle in handles:
            handle.remove()
    calls = [module for module, _, _ in found]
    for module, features, output in reversed(found):
        if features.dim() == 2 and torch.equal(output, logits) and calls.count(module) == 1:
            gap = (linear(features, module.weight, module.bias) - logits).abs().max()
            if gap <= _AGREEMENT * logits.abs().max():
                name = next(name for name, other in classifier.network.named_modules() if other is module)
                return Head(name, module)
    raise InputError(
        "the network's logits do not come from one linear layer, so it has no penultimate features and no last layer "
        "to refit; take a network that ends in a linear layer, or another method."
    )


@contextmanager
def features_of(head: Head) -> Iterator[list[Tensor]]:
    """The last layer's inputs [n, D] of a forward that runs within."""
    captured: list[Tensor] = []

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        captured[:] = [inputs[0].detach()]

    handle = head.layer.register_forward_pre_hook(hook)
    try:
        yield captured
    finally:
        handle.remove()
