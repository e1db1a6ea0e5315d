"""DeepLIFT's rules: an image and its baseline go through a network side by side, differences come back.

Every value is a `Pair`. Its tensor `x` carries, next to its number, the multipliers that autograd sends back: linear
operations keep their gradient, all others get the slopes of their rule, with which differences add up exactly:
y - y' = sum of slope * (x - x'). Operations without a rule are refused by name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F

from xaicli.explain import operations as kinds
from xaicli.models.lifting import Add, Einsum, MatMul, Multiply


@dataclass(frozen=True)
class Pair:
    """What some operation returns for the image, `x`, and for the baseline, `b`."""

    x: Any
    b: Any


def linear(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """An operation that is linear, up to a constant, in all its pairs: multipliers are its gradient."""
    x = function(*_side(args, "x"), **_side(kwargs, "x"))
    with torch.no_grad():
        b = function(*_side(args, "b"), **_side(kwargs, "b"))
    return Pair(x, b) if _has_tensor(x) else x  # a size is the same for both


def rescale(function: Callable[[Tensor], Tensor], pair: Pair) -> Pair:
    """An elementwise function: the quotient of the differences, or its derivative where there is hardly any."""
    x, b = pair.x.detach(), pair.b
    y, y_b = function(x), function(b)
    difference = x - b
    # Below, rounding would spoil the quotient; the derivative half-way is then as exact as the numbers themselves.
    still = difference.abs() <= torch.finfo(x.dtype).eps ** 0.5 * torch.maximum(x.abs(), b.abs()).clamp(min=1e-3)
    slope = (y - y_b) / torch.where(still, 1, difference)
    if still.any():
        with torch.enable_grad():
            middle: Tensor = ((x + b) / 2).requires_grad_()
            (derivative,) = torch.autograd.grad(function(middle).sum(), middle)
        slope = torch.where(still, derivative, slope)
    return _sloped(pair, y, y_b, slope)


def inverse(pair: Pair) -> Pair:
    """1 / v by the same rule, its quotient in closed form."""
    v, v_b = pair.x.detach(), pair.b
    return _sloped(pair, 1 / v, 1 / v_b, -1 / (v * v_b))


def inverse_root(pair: Pair) -> Pair:
    """1 / sqrt(v) by the same rule, its quotient in closed form."""
    root, root_b = pair.x.detach().sqrt(), pair.b.sqrt()
    return _sloped(pair, 1 / root, 1 / root_b, -1 / (root * root_b * (root + root_b)))


def product(function: Callable[[Tensor, Tensor], Tensor], first: Pair, second: Pair) -> Pair:
    """A bilinear operation by the symmetric rule: the change of each factor times the mean of the other."""
    x, z = first.x.detach(), second.x.detach()
    y, y_b = function(x, z), function(first.b, second.b)
    if first.x.requires_grad:
        y = y + function(_zero(first.x), (z + second.b) / 2)
    if second.x.requires_grad:
        y = y + function((x + first.b) / 2, _zero(second.x))
    return Pair(y, y_b)


def maximum(pair: Pair, at_x: Tensor, at_b: Tensor) -> Pair:
    """The largest of the last axis, found at `at_x` and `at_b`: max(y, y') - y' goes to the first, the rest there."""
    x, b = pair.x.detach(), pair.b
    y, y_b = x.gather(-1, at_x), b.gather(-1, at_b)
    top = torch.maximum(y, y_b)
    zero = _zero(pair.x)
    total = y
    for place, share in ((at_x, top - y_b), (at_b, y - top)):
        change = x.gather(-1, place) - b.gather(-1, place)  # never smaller than the share, so the slope is at most 1
        slope = torch.where(share == 0, 0, share / torch.where(share == 0, 1, change))
        total = total + slope * zero.gather(-1, place)
    return Pair(total, y_b)


def softmax(pair: Pair, dim: int) -> Pair:
    """Exponentials times the inverse of their sum; shifted by the same number on both sides, which changes nothing."""
    shift = (pair.x.detach().amax(dim, keepdim=True) + pair.b.amax(dim, keepdim=True)) / 2
    powers = rescale(torch.exp, linear(operator.sub, pair, shift))
    return product(operator.mul, powers, inverse(linear(torch.sum, powers, dim, keepdim=True)))


def normalise(pair: Pair, axes: tuple[int, ...], eps: float) -> Pair:
    """Deviations from the mean times the inverse standard deviation."""
    centred = linear(operator.sub, pair, linear(torch.mean, pair, axes, keepdim=True))
    variance = linear(torch.mean, product(operator.mul, centred, centred), axes, keepdim=True)
    return product(operator.mul, centred, inverse_root(linear(operator.add, variance, eps)))


class SideBySide(fx.Interpreter):
    """Runs a canonical network on a pair of batches."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.extra_traceback = False  # or it would lengthen our message

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A module by the rule of its type."""
        module = self.fetch_attr(target)
        if not _pairs((args, kwargs)):
            return module(*args, **kwargs)
        for types, rule in _RULES:
            if isinstance(module, types) and kinds.is_plain(module):
                return rule(module, *args, **kwargs)
        raise kinds.no_rule("deeplift", type(module).__name__, target)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function that is linear in its pairs, or works on sizes."""
        return self._call(target, target, getattr(target, "__name__", str(target)), args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A method that is linear in its pairs, or works on sizes."""
        return self._call(target, lambda x, *rest, **named: getattr(x, target)(*rest, **named), target, args, kwargs)

    def _call(self, target: Any, function: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        pairs = _pairs((args, kwargs))
        known = target in _LINEAR or (target in _LINEAR_IN_ONE and len(pairs) == 1 and isinstance(args[0], Pair))
        scaled = target is operator.mul and len(pairs) == 1
        if not pairs:
            return function(*args, **kwargs)
        if known or scaled:
            return linear(function, *args, **kwargs)
        raise kinds.no_rule("deeplift", name, name)


def _sloped(pair: Pair, y: Tensor, y_b: Tensor, slope: Tensor) -> Pair:
    return Pair(y + slope * _zero(pair.x), y_b)


def _zero(x: Tensor) -> Tensor:
    """Zeros that carry the gradient of x."""
    return x - x.detach()


def _side(values: Any, name: str) -> Any:
    return map_aggregate(values, lambda value: getattr(value, name) if isinstance(value, Pair) else value)


def _pairs(values: Any) -> list[Pair]:
    found: list[Pair] = []
    map_aggregate(values, lambda value: found.append(value) if isinstance(value, Pair) else None)
    return found


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(_has_tensor(part) for part in value))


def _paired(value: Any) -> Pair:
    """A constant of the network is the same on both sides."""
    return value if isinstance(value, Pair) else Pair(value, value)


def _max_pool(module: nn.MaxPool2d | nn.AdaptiveMaxPool2d, pair: Pair) -> Pair:
    pool: Callable[[Tensor], tuple[Tensor, Tensor]]
    if isinstance(module, nn.MaxPool2d):
        sizes = (module.kernel_size, module.stride, module.padding, module.dilation)
        pool = lambda x: F.max_pool2d(x, *sizes, ceil_mode=module.ceil_mode, return_indices=True)  # noqa: E731
    else:
        pool = nn.AdaptiveMaxPool2d(module.output_size, return_indices=True)
    (y, at_x), (_, at_b) = pool(pair.x.detach()), pool(pair.b)
    flat = maximum(linear(torch.flatten, pair, 2), at_x.flatten(2), at_b.flatten(2))
    found: Pair = linear(torch.reshape, flat, y.shape)
    return found


def _layer_norm(module: nn.LayerNorm, pair: Pair) -> Any:
    axes = tuple(range(-len(module.normalized_shape), 0))
    return _affine(normalise(pair, axes, module.eps), module.weight, module.bias)


def _group_norm(module: nn.GroupNorm, pair: Pair) -> Any:
    shape = pair.b.shape
    grouped = linear(torch.reshape, pair, (shape[0], module.num_groups, -1))
    normal = linear(torch.reshape, normalise(grouped, (-1,), module.eps), shape)
    channels = (-1, *[1] * (len(shape) - 2))
    if not module.affine:
        return normal
    return _affine(normal, module.weight.view(channels), module.bias.view(channels))


def _affine(pair: Pair, weight: Tensor | None, bias: Tensor | None) -> Any:
    scaled = pair if weight is None else linear(operator.mul, pair, weight)
    return scaled if bias is None else linear(operator.add, scaled, bias)


_Rule = Callable[..., Any]
_RULES: tuple[tuple[tuple[type[nn.Module], ...], _Rule], ...] = (
    ((*kinds.WEIGHTED, *kinds.BATCH_NORMS, *kinds.AVERAGES, *kinds.MOVES, Add), linear),
    (kinds.ELEMENTWISE, rescale),
    ((Multiply, MatMul, Einsum), lambda module, first, second: product(module, _paired(first), _paired(second))),
    (kinds.MAXIMA, _max_pool),
    ((nn.Softmax,), lambda module, pair: softmax(pair, module.dim)),
    ((nn.LayerNorm,), _layer_norm),
    ((nn.GroupNorm,), _group_norm),
)
_LINEAR: set[Any] = {
    *(kinds.MOVING | kinds.ADDING | kinds.SUBTRACTING | kinds.NEGATING | kinds.SUMMING),
    *(getattr, "size", "dim"),
}
_LINEAR_IN_ONE: set[Any] = {*(kinds.MULTIPLYING | kinds.DIVIDING), F.linear, F.conv2d}
