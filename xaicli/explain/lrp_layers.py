"""Modules as the linear layers that LRP's rules are written for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaicli.explain.lrp_rules import Layer


def weighted(module: nn.Module, x: Tensor, rows: int) -> Layer:
    """A convolution, or a linear layer on the last axis."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    bias: Any = module.bias
    if isinstance(module, nn.Linear):
        return Layer(F.linear, x, weight, bias, rows)
    if isinstance(module, nn.ConvTranspose2d):
        sizes: Any = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
        apply: Callable[[Tensor, Tensor], Tensor] = lambda x, w: F.conv_transpose2d(x, w, None, *sizes)  # noqa: E731
    else:
        forward: Any = module._conv_forward  # pads as the module does, whatever its mode
        apply = lambda x, w: forward(x, w, None)  # noqa: E731
    return Layer(apply, x, weight, _on_channels(bias, x), rows)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None, *sizes: Any, rows: int, **named: Any) -> Layer:
    """The function `conv2d`, of weights that the network has computed."""
    return Layer(lambda x, w: F.conv2d(x, w, None, *sizes, **named), x, weight, _on_channels(bias, x), rows)


def averaged(function: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Layer:
    """A sum with fixed weights, none of them negative."""
    return Layer(lambda x, w: function(x) * w, x, torch.ones_like(x[:1].flatten()[:1]), None, rows)


def batch_norm(module: nn.Module, x: Tensor, rows: int) -> Layer:
    """The affine map of the running statistics."""
    norm: Any = module
    slope = (norm.running_var + norm.eps).rsqrt()
    slope = slope if norm.weight is None else slope * norm.weight
    bias = -norm.running_mean * slope if norm.bias is None else norm.bias - norm.running_mean * slope
    return Layer(torch.mul, x, _on_channels(slope, x), _on_channels(bias, x), rows)


def layer_norm(module: nn.LayerNorm, x: Tensor, rows: int) -> Layer:
    """Deviations from the mean, which is a linear map where the standard deviation is a constant."""
    axes = tuple(range(-len(module.normalized_shape), 0))
    slope = (x.var(axes, correction=0, keepdim=True) + module.eps).rsqrt()
    slope = slope if module.weight is None else slope * module.weight
    return Layer(lambda x, w: (x - x.mean(axes, keepdim=True)) * w, x, slope, module.bias, rows)


def group_norm(module: nn.GroupNorm, x: Tensor, rows: int) -> Layer:
    """The same within groups of channels."""
    groups = (len(x), module.num_groups, -1)
    deviation = (x.reshape(groups).var(2, correction=0, keepdim=True) + module.eps).rsqrt()
    slope = deviation.expand_as(x.reshape(groups)).reshape(x.shape)
    if module.affine:
        slope = slope * _on_channels(module.weight, x)

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        grouped = x.reshape(groups)
        return (grouped - grouped.mean(2, keepdim=True)).reshape(x.shape) * weight

    return Layer(apply, x, slope, _on_channels(module.bias, x), rows)


def _on_channels(values: Any, x: Tensor) -> Any:
    """One value a channel, in a shape that goes with [N, K, ...]."""
    return None if values is None else values.view(-1, *[1] * (x.dim() - 2))
