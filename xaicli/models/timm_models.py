"""timm's classifiers by name, where timm is installed: without weights, and without a word to the network."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import nn

from xaicli.errors import UnavailableError, UsageError
from xaicli.models.contract import first_line, try_network


def classifier_names() -> list[str]:
    """The names of timm's models, without the tags of their weights; UnavailableError when timm is not installed."""
    names: list[str] = _timm().list_models()
    return names


def usual_shape(name: str) -> tuple[int, int, int]:
    """The image shape that timm's own weights of this model expect."""
    channels, height, width = _timm().get_pretrained_cfg(name).input_size
    return channels, height, width


def build_timm(name: str, classes: int, channels: int, size: tuple[int, int]) -> nn.Module:
    """The model with fresh weights, made for images of this size; UsageError when it cannot take them."""
    timm, what = _timm(), f"'timm:{name}'"
    sized: dict[str, Any] = {"img_size": size} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **sized)
    except (ValueError, RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"{what} cannot be built for {channels}x{size[0]}x{size[1]} images: {first_line(error)}; "
            "choose another --arch or size."
        ) from None
    if next(network.parameters()).is_meta:  # a skeleton for weights that exist: they were tried when they were made
        return network
    problem = try_network(network, classes, channels, size)
    if problem:
        raise UsageError(f"{what} {problem}; choose another --arch or size.")
    return network


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise UnavailableError("timm's models need timm, which is not here; run pip install xaicli[timm].") from None
    module: ModuleType = timm
    return module
