"""torchvision's image classifiers by name: without weights, for any number of channels and of classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from xaicli.errors import UsageError
from xaicli.models.contract import first_line, try_network

_COLOURS = 3
# Without these GoogLeNet and Inception return three outputs while training, which no recipe and no tracer can use.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def classifier_names() -> list[str]:
    """The names of torchvision's image classifiers."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def build_torchvision(name: str, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """The model with fresh weights; UsageError when it cannot take images of this size.

    For other than 3 channels, the first convolution is replaced by one that takes them. Its kernels repeat those of the
    three colours in turn, scaled by sqrt(3/C) so that its outputs keep their variance.
    """
    from torchvision import models

    what = f"'torchvision:{name}'"
    arguments = {**_ARGUMENTS.get(name, {}), **_sized(name, size, what)}
    try:
        network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **arguments)
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"{what} cannot be built for {size[0]}x{size[1]} images: {first_line(error)}; choose another size."
        ) from None
    if channels != _COLOURS:
        _adapt_channels(network, channels)
    if next(network.parameters()).is_meta:  # a skeleton for weights that exist: they were tried when they were made
        return network
    problem = try_network(network, classes, channels, size)
    if problem:
        raise UsageError(f"{what} {problem}; choose another --arch or larger images.")
    return network


def _sized(name: str, size: tuple[int, int], what: str) -> dict[str, Any]:
    """Arguments of the few models that are built for one image size."""
    if name.startswith("maxvit"):
        return {"input_size": size}
    if not name.startswith("vit_"):
        return {}
    if size[0] != size[1]:
        raise UsageError(f"{what} takes square images only, not {size[0]}x{size[1]}; choose another --arch.")
    return {"image_size": size[0]}


def _adapt_channels(network: nn.Module, channels: int) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == _COLOURS:
            owner, _, child = name.rpartition(".")
            setattr(network.get_submodule(owner), child, _with_channels(module, channels))
            return
    raise UsageError(f"the first layer takes {_COLOURS} channels only, not {channels}; choose another --arch.")


def _with_channels(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    with torch.device(conv.weight.device):
        adapted = nn.Conv2d(
            channels,
            conv.out_channels,
            _pair(conv.kernel_size),
            stride=_pair(conv.stride),
            padding=conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
            dilation=_pair(conv.dilation),
            bias=conv.bias is not None,
        )
    with torch.no_grad():
        colours = torch.arange(channels) % _COLOURS
        adapted.weight.copy_(conv.weight[:, colours.to(conv.weight.device)] * (_COLOURS / channels) ** 0.5)
        if conv.bias is not None and adapted.bias is not None:
            adapted.bias.copy_(conv.bias)
    return adapted


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]
