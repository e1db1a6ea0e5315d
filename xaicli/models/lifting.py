"""Functions and operators of a traced network as modules, so that a rule can be found by a module's type.

Only what some rule needs is lifted: activations, norms, pooling, sums, products and concatenations. Pure changes of
shape stay functions. Arguments that are computed by the network itself stay functions as well.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


class Add(nn.Module):
    """The sum of two tensors: a shortcut's end, or a position embedding."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Shapes are broadcast."""
        return first + second


class Multiply(nn.Module):
    """The elementwise product of two tensors: a gate, or a scale per channel."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Shapes are broadcast."""
        return first * second


class MatMul(nn.Module):
    """The matrix product of two tensors, as in attention."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Leading axes are broadcast."""
        return first @ second


class Einsum(nn.Module):
    """A sum of products of two tensors in Einstein's notation, as in MaxViT's attention."""

    def __init__(self, equation: str) -> None:
        super().__init__()
        self.equation = equation

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Shapes are those of the equation."""
        return torch.einsum(self.equation, first, second)


class Cat(nn.Module):
    """Tensors joined along an axis."""

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *parts: Tensor) -> Tensor:
        """Shapes agree but for the axis."""
        return torch.cat(parts, self.dim)


class Mean(nn.Module):
    """The mean over some axes, such as global average pooling."""

    def __init__(self, dim: int | Sequence[int], keepdim: bool = False) -> None:
        super().__init__()
        self.dim = dim if isinstance(dim, int) else tuple(dim)
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """The mean of x over the axes."""
        return x.mean(self.dim, self.keepdim)


def lifted(node: fx.Node, values: dict[fx.Node, Any]) -> tuple[nn.Module, list[fx.Node]] | None:
    """A module that does what a function or method call does, and the nodes it takes; None when nothing needs one.

    values: what each node is for an example. A target is looked up by its parameters in torch's own order.
    """
    args: list[Any] = list(node.args)
    kwargs: dict[str, Any] = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    if "input" in kwargs:
        args.insert(0, kwargs.pop("input"))
    target: Any = node.target
    if target in _JOINS:
        parts = args[0] if args else kwargs.pop("tensors", None)
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        whole = isinstance(parts, (list, tuple)) and all(isinstance(part, fx.Node) for part in parts)
        return (Cat(dim), list(parts)) if whole and isinstance(dim, int) else None
    if target is torch.einsum:
        both = len(args) == 3 and isinstance(args[0], str)
        return (Einsum(args[0]), args[1:]) if both else None
    for made, targets in _PAIRS.items():
        if target in targets:
            tensors = [a for a in args if isinstance(a, fx.Node) and isinstance(values[a], Tensor)]  # not sizes
            return (made(), args) if len(tensors) == len(args) == 2 and not kwargs else None
    if target in _WEIGHTED:
        module = _WEIGHTED[target](values, *args, **kwargs)
        return None if module is None else (module, args[:1])
    make = _UNARY.get(target)
    if make is None or not args or not isinstance(args[0], fx.Node) or not isinstance(values[args[0]], Tensor):
        return None
    if any(isinstance(part, fx.Node) for part in [*args[1:], *kwargs.values()]):
        return None
    try:
        return make(*args[1:], **kwargs), args[:1]
    except TypeError:  # arguments that the module does not have, such as a dtype
        return None


def _linear(values: dict[fx.Node, Any], x: fx.Node, weight: fx.Node, bias: fx.Node | None = None) -> nn.Module | None:
    if not _constant(weight, bias):
        return None
    rows, columns = values[weight].shape
    module = nn.Linear(columns, rows, bias=bias is not None, device="meta")
    return _share(module, values, weight=weight, bias=bias)


def _layer_norm(
    values: dict[fx.Node, Any],
    x: fx.Node,
    normalized_shape: Any,
    weight: fx.Node | None = None,
    bias: fx.Node | None = None,
    eps: float = 1e-5,
) -> nn.Module | None:
    if not _constant(weight, bias) or any(isinstance(part, fx.Node) for part in normalized_shape):
        return None
    module = nn.LayerNorm(normalized_shape, eps, elementwise_affine=False)
    module.elementwise_affine = weight is not None
    return _share(module, values, weight=weight, bias=bias)


def _batch_norm(
    values: dict[fx.Node, Any],
    x: fx.Node,
    running_mean: fx.Node | None,
    running_var: fx.Node | None,
    weight: fx.Node | None = None,
    bias: fx.Node | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> nn.Module | None:
    known = running_mean is not None and running_var is not None
    if training or not known or not _constant(running_mean, running_var, weight, bias):
        return None
    kind = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(values[x].dim(), nn.BatchNorm1d)
    module = kind(values[x].shape[1], eps, momentum, affine=False, device=values[x].device)
    module.affine = weight is not None
    return _share(module, values, weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)


def _constant(*nodes: fx.Node | None) -> bool:
    return all(node is None or (isinstance(node, fx.Node) and node.op == "get_attr") for node in nodes)


def _share(module: nn.Module, values: dict[fx.Node, Any], **nodes: fx.Node | None) -> nn.Module | None:
    """Give a module the network's own parameters and buffers."""
    for name, node in nodes.items():
        tensor = None if node is None else values[node]
        if name in ("weight", "bias") and tensor is not None and not isinstance(tensor, nn.Parameter):
            return None
        setattr(module, name, tensor)
    return module


def _softmax(dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> nn.Module:
    if dim is None or dtype is not None:
        raise TypeError("no module has an axis that depends on the input, or another dtype")
    return nn.Softmax(dim)


def _max_pool(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> nn.Module:
    if return_indices:
        raise TypeError("two outputs")
    return nn.MaxPool2d(kernel_size, stride or None, padding, dilation, ceil_mode=ceil_mode)


def _activation(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """An activation whose only argument is whether to work in place."""
    return lambda inplace=False: make()


_JOINS = {torch.cat, torch.concat, torch.concatenate}
_PAIRS: dict[Callable[[], nn.Module], set[Any]] = {
    Add: {operator.add, torch.add, "add"},
    Multiply: {operator.mul, torch.mul, torch.multiply, "mul", "multiply"},
    MatMul: {operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm"},
}
_WEIGHTED: dict[Any, Callable[..., nn.Module | None]] = {
    F.linear: _linear,
    F.layer_norm: _layer_norm,
    F.batch_norm: _batch_norm,
}
_UNARY: dict[Any, Callable[..., nn.Module]] = {
    F.relu: _activation(nn.ReLU),
    F.relu6: _activation(nn.ReLU6),
    F.silu: _activation(nn.SiLU),
    F.mish: _activation(nn.Mish),
    F.selu: _activation(nn.SELU),
    F.hardswish: _activation(nn.Hardswish),
    F.hardsigmoid: _activation(nn.Hardsigmoid),
    F.leaky_relu: lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope),
    F.elu: lambda alpha=1.0, inplace=False: nn.ELU(alpha),
    F.celu: lambda alpha=1.0, inplace=False: nn.CELU(alpha),
    F.hardtanh: lambda min_val=-1.0, max_val=1.0, inplace=False: nn.Hardtanh(min_val, max_val),
    F.gelu: nn.GELU,
    F.softplus: nn.Softplus,
    F.softsign: nn.Softsign,
    F.logsigmoid: nn.LogSigmoid,
    **dict.fromkeys((torch.relu, "relu"), nn.ReLU),
    **dict.fromkeys((torch.sigmoid, F.sigmoid, "sigmoid"), nn.Sigmoid),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh"), nn.Tanh),
    **dict.fromkeys((F.softmax, torch.softmax, "softmax"), _softmax),
    **dict.fromkeys((torch.mean, "mean"), Mean),
    **dict.fromkeys((torch.flatten, "flatten"), lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim)),
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.max_pool2d: _max_pool,
    torch.max_pool2d: _max_pool,
}
