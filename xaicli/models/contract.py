"""What a network must do: tried once on zeros, because a wrong one would fail late and obscurely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xaicli.errors import PluginError
from xaicli.models.factory import Factory

_BATCH = 2  # so that an output without a batch axis cannot pass


def call_factory(
    factory: Factory, options: Mapping[str, Any], classes: int, channels: int, size: tuple[int, int]
) -> nn.Module:
    """Call FACTORY(num_classes=K, channels=C, **options); PluginError unless it returns a classifier of such images."""
    what = f"the factory '{factory.name}' of {factory.path}"
    try:
        network = factory.function(num_classes=classes, channels=channels, **options)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what} raised {type(error).__name__}: {error}; correct it.") from error
    if not isinstance(network, nn.Module):
        raise PluginError(f"{what} returned {type(network).__name__}, but must return a torch.nn.Module.")
    if next(network.parameters(), None) is None:
        raise PluginError(f"{what} returned a module without parameters; there would be nothing to train.")
    problem = try_network(network, classes, channels, size)
    if problem:
        raise PluginError(f"{what} returned a module that {problem}.")
    return network


def try_network(network: nn.Module, classes: int, channels: int, size: tuple[int, int]) -> str:
    """Run zeros through the network in evaluation mode; what went wrong, or an empty text."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            output = network(torch.zeros(_BATCH, channels, *size))
    except Exception as error:  # whatever a network raises for an image that it cannot take
        return f"cannot take {channels}x{size[0]}x{size[1]} images ({type(error).__name__}: {first_line(error)})"
    finally:
        for module, training in modes.items():
            module.training = training
    wanted = f"logits of shape [{_BATCH}, {classes}] are needed for {_BATCH} images"
    if not isinstance(output, Tensor):
        return f"returns {type(output).__name__}, where {wanted}"
    if tuple(output.shape) != (_BATCH, classes) or not output.is_floating_point():
        return f"returns {output.dtype} {list(output.shape)}, where {wanted}"
    return ""


def first_line(error: BaseException) -> str:
    """The first line of what an exception of another library says."""
    return next(iter(str(error).splitlines()), "")
