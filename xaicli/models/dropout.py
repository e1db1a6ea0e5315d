"""Units dropped by chance from what layers are given, in training and as a posterior to draw from.

Monte Carlo dropout (Gal and Ghahramani, 2016, "Dropout as a Bayesian approximation"): a network with dropout before its
weight layers has a distribution over weights, in which whole columns of a layer's matrix are either there or zero. The
first layer keeps its inputs, which are the image and no units. A convolution loses whole channels, a layer on tokens
the same unit of all of them, so that what was dropped for an image is one matrix for all places.

Layers stay what they are, with the same names in the state dict: a hook drops what they are given, in training mode
only, and in evaluation mode the network is the ordinary one. A draw is an ordinary network, too, made by `thinned`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor, nn

from xaicli.errors import InputError, UsageError
from xaicli.models.bayesian import as_mean_field, linear_layers, one_set, replace_modules
from xaicli.models.mean_field import Noise
from xaicli.models.tracing import memo_of


class Dropping:
    """Drops units of a layer's input with probability `share`, for each row by itself; the others grow to make up.

    Rows draw from torch's global generator, as torch's own dropout does.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """[N, C, ...] of a convolution or [N, ..., D] of a linear layer; None leaves it as it is."""
        if not layer.training:
            return None
        x = inputs[0]
        units = 1 if isinstance(layer, nn.Conv2d) else -1
        shape = [1] * x.dim()
        shape[0], shape[units] = x.shape[0], x.shape[units]
        kept = torch.empty(shape, device=x.device, dtype=x.dtype).bernoulli_(1 - self.share)
        return (x * (kept / (1 - self.share)), *inputs[1:])


def to_dropout(network: nn.Module, share: float, keep: Callable[[str], bool] = lambda name: False) -> list[str]:
    """Drop, from now on, inputs of every linear layer and convolution but the first; returns the layers' names.

    share: the probability that a unit is dropped. keep: whether the layer of this name is to get all its units. What
    was dropped before is forgotten. The projections inside the attention of torch's and torchvision's own transformers
    are left out, because they are never called.

    Raises UsageError for a share that is no probability below 1. Raises InputError, with nothing changed, for a kind of
    linear layer or convolution that does more with its weights than multiply, and for a network that has no second one.
    """
    if not 0 <= share < 1:
        raise UsageError(f"units cannot be dropped with probability p={share:g}; choose a number from 0 to 1, not 1.")
    chosen = [(name, layer) for name, layer in list(linear_layers(network))[1:] if not keep(name)]
    if not chosen:
        raise InputError("the network has no second linear layer or convolution to drop units of; take another one.")
    for name, layer in chosen:
        as_mean_field(name, layer, 1.0)
    for _, layer, _ in dropping_layers(network):
        _stop(layer)
    for _, layer in chosen:
        layer.register_forward_pre_hook(Dropping(share))
    return [name for name, _ in chosen]


def dropping_layers(network: nn.Module) -> list[tuple[str, nn.Module, Dropping]]:
    """Names of the layers whose inputs are dropped, each once, in the order in which draws number them."""
    return [
        (name, layer, hook)
        for name, layer in network.named_modules()
        for hook in layer._forward_pre_hooks.values()
        if isinstance(hook, Dropping)
    ]


def thinned(network: nn.Module, noise: Noise | None = None) -> nn.Module:
    """The network as an ordinary one that drops nothing more, with all its units, or without those of one draw.

    noise: the numbers of one set of weights; a unit is dropped, for all images, where its number lies below the
    quantile of its share, and the columns of the layer's weights that it would be multiplied with are zero. The copy
    shares what it can with the network, and its new weights get no gradient.
    """
    twin = copy.deepcopy(network, memo_of(network))
    twins: dict[nn.Module, nn.Module] = {}
    for number, (name, layer, hook) in enumerate(dropping_layers(twin)):
        _stop(layer)
        if noise is not None and hook.share:
            twins[layer] = _without(name, layer, hook.share, noise, number)
    replace_modules(twin, twins)
    return twin


@torch.no_grad()
def _without(name: str, layer: nn.Module, share: float, noise: Noise, number: int) -> nn.Module:
    linear = as_mean_field(name, layer, 1.0)
    weight, groups = linear.centre(), getattr(layer, "groups", 1)
    units = groups * weight.shape[1]
    numbers = one_set(noise, number, "units", weight.new_empty(units))
    kept = (numbers >= NormalDist().inv_cdf(share)).to(weight) / (1 - share)
    columns = kept.view(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return linear.plain(weight * columns.view(*weight.shape[:2], *[1] * (weight.dim() - 2)), linear.bias_mean)


def _stop(layer: nn.Module) -> None:
    for key, hook in list(layer._forward_pre_hooks.items()):
        if isinstance(hook, Dropping):
            del layer._forward_pre_hooks[key]
