"""Any network made Bayesian, what that costs in nats, and the ordinary networks that its posterior consists of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from xaicli.errors import InputError
from xaicli.models.mean_field import (
    MeanField,
    MeanFieldConv2d,
    MeanFieldLinear,
    MeanFieldStandardisedConv2d,
    Noise,
    mean_field_layers,
)
from xaicli.models.prior import Prior
from xaicli.models.tracing import memo_of
from xaicli.models.wide_resnet import StandardisedConv2d

SIGMA = 0.01
"""Every weight's deviation before training: far below the weights' own size, so that training begins like any other."""

# attention that reads its layers' weights and never calls them: such layers could not draw
_READERS = ("MultiheadAttention", "ShiftedWindowAttention", "ShiftedWindowAttentionV2")


def to_mean_field(
    network: nn.Module, *, sigma: float = SIGMA, keep: Callable[[str], bool] = lambda name: False
) -> list[str]:
    """Give the linear layers and convolutions, in place, Gaussian weights around their own; returns the layers' names.

    `weight` becomes `weight_mean` and `weight_rho` in the state dict, `bias` likewise; the means are the parameters
    that were there. Norms and everything else stay as they are, and so do the projections inside the attention of
    torch's and torchvision's own transformers, which never call their layers. A module used in several places is
    replaced by one, under its first name. keep: whether to leave the layer of this name as it is.

    Raises InputError, with nothing changed, for a kind of linear layer or convolution that does more with its weights
    than multiply, and for a network without any such layer.
    """
    chosen = [(name, layer) for name, layer in linear_layers(network) if not keep(name)]
    if not chosen:
        raise InputError(
            "the network has no linear layer or convolution whose weights could be uncertain; take another."
        )
    replace_modules(network, {layer: as_mean_field(name, layer, sigma) for name, layer in chosen})
    return [name for name, _ in chosen]


def kl_of(network: nn.Module, prior: Prior, noise: Noise) -> Tensor:
    """KL(posterior, prior) in nats, summed over all uncertain weights: one number, with its gradient.

    noise: the numbers of one set of weights, asked only for a prior without a closed form. Raises InputError for a
    network without uncertain weights.
    """
    parts = [
        prior.divergence(mean, sigma, partial(one_set, noise, number, part, mean))
        for number, layer in enumerate(mean_field_layers(network))
        for part, (mean, sigma) in layer.posterior().items()
    ]
    if not parts:
        raise InputError("the network has no uncertain weights, and so no divergence from a prior; make it Bayesian.")
    return torch.stack(parts).sum()


def plain(network: nn.Module, noise: Noise | None = None) -> nn.Module:
    """The network as an ordinary one, with the posterior's means for weights, or with weights drawn once for all rows.

    noise: the numbers of one set of weights. The copy shares what it can with the network, and its new weights get no
    gradient. Every method takes it: nothing in it is drawn any more, a layer is one linear map.
    """
    twin = copy.deepcopy(network, memo_of(network))
    with torch.no_grad():
        twins: dict[nn.Module, nn.Module]
        twins = {layer: _drawn(layer, number, noise) for number, layer in enumerate(mean_field_layers(twin))}
    replace_modules(twin, twins)
    return twin


def _drawn(layer: MeanField, number: int, noise: Noise | None) -> nn.Module:
    weights = {
        part: mean if noise is None else mean + sigma * one_set(noise, number, part, mean)
        for part, (mean, sigma) in layer.posterior().items()
    }
    return layer.plain(weights["weight"], weights.get("bias")).train(layer.training)


def one_set(noise: Noise, number: int, part: str, like: Tensor) -> Tensor:
    """A layer's numbers, by the layer's number and the part of it, in the shape and type of a tensor."""
    return noise(f"weights:{number}:{part}", like.shape)[0].to(like)


def linear_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers that are linear in their weights and called as modules."""
    unread = {inner for owner in network.modules() if type(owner).__name__ in _READERS for inner in owner.modules()}
    for name, module in network.named_modules():
        if name and isinstance(module, (nn.Linear, _ConvNd)) and module not in unread:
            yield name, module


def as_mean_field(name: str, layer: nn.Module, sigma: float) -> MeanField:
    """The layer with Gaussian weights, their means its own. Raises InputError for a kind that has no such twin."""
    if type(layer) is nn.Linear:
        return MeanFieldLinear(layer, sigma).train(layer.training)
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
        return MeanFieldConv2d(layer, sigma).train(layer.training)
    if type(layer) is StandardisedConv2d:
        return MeanFieldStandardisedConv2d(layer, sigma).train(layer.training)
    raise InputError(
        f"the layer '{name}' is of the kind {type(layer).__name__}, whose weights cannot be uncertain; take an "
        "architecture of ordinary linear layers and of convolutions padded by zeros."
    )


def replace_modules(network: nn.Module, twins: Mapping[nn.Module, nn.Module]) -> None:
    """Put every module's twin, if it has one, in all of its places."""
    for owner in list(network.modules()):
        for child, module in list(owner._modules.items()):  # also the second name of a module that has two
            if module is not None and module in twins:
                setattr(owner, child, twins[module])
