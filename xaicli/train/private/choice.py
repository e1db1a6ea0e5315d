"""Which rule an operation of a traced network needs, and what of its arguments is data and what is a weight."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from xaicli.errors import InputError
from xaicli.models.lifting import Add, Multiply
from xaicli.train.private.layers import Affine, Convolution, Group, Linear
from xaicli.train.private.operations import Anything, Broadcast
from xaicli.train.private.rule import Rule, Weights


@dataclass(frozen=True)
class Found:
    """A rule, the nodes of its data, and what its weights are: nodes, or names of a module's parameters."""

    rule: Rule
    data: Sequence[Any]
    weights: Sequence[Any]


def module_rule(module: nn.Module, node: fx.Node) -> Found:
    """The rule of a module with parameters of its own.

    Raises InputError if its gradients mix samples.
    """
    names = [name for name, _ in module.named_parameters(recurse=False)]
    known, data = _known(module, str(node.target)), [*node.args, *node.kwargs.values()]
    if known is not None and set(names) <= {"weight", "bias"}:
        return Found(known, data, ["weight", "bias"])
    every = [name for name, _ in module.named_parameters()]
    placed, keywords = len(node.args), list(node.kwargs)

    def run(data: Sequence[Any], weights: Weights) -> Any:
        given = {name: weight for name, weight in zip(every, weights, strict=True) if weight is not None}
        named = dict(zip(keywords, data[placed:], strict=True))
        return torch.func.functional_call(module, given, tuple(data[:placed]), named)

    return Found(Anything(run, str(node.target)), data, list(every))


def _known(module: nn.Module, name: str) -> Rule | None:
    forward = type(module).forward
    if forward is nn.Linear.forward:
        return Linear()
    if isinstance(module, _ConvNd) and forward in (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward):
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        pads = tuple(module._reversed_padding_repeated_twice)
        return Convolution(module.stride, pads, module.dilation, module.groups, mode)
    if forward is nn.GroupNorm.forward and isinstance(module, nn.GroupNorm):
        return Group(module.num_groups, module.eps)
    if forward is nn.LayerNorm.forward and isinstance(module, nn.LayerNorm):
        layer = partial(F.layer_norm, normalized_shape=module.normalized_shape, eps=module.eps)
        return Affine(layer, lambda x, weight, bias: layer(x, weight=weight, bias=bias), last=True)
    if isinstance(module, _BatchNorm):
        if module.running_mean is None:
            raise InputError(
                f"the norm '{name}' has no running statistics, so every image's gradient depends on its batch; "
                "replace it by a GroupNorm."
            )
        return _batch_norm(module)
    if forward is _InstanceNorm.forward and isinstance(module, _InstanceNorm):
        return _instance_norm(module)
    return None


def _batch_norm(module: _BatchNorm) -> Rule:
    def norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        return F.batch_norm(x, module.running_mean, module.running_var, weight, bias, eps=module.eps)

    return Affine(norm, norm)


def _instance_norm(module: _InstanceNorm) -> Rule:
    def norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        own = module.running_mean is None
        return F.instance_norm(x, module.running_mean, module.running_var, weight, bias, own, eps=module.eps)

    return Affine(norm, norm)


def function_rule(node: fx.Node, module: nn.Module | None, is_weight: Callable[[Any], bool], values: Any) -> Found:
    """The rule of a function, or of a module without parameters, whose arguments are weights and data."""
    target = node.target if module is None else type(module)
    given = {**dict(zip(_WEIGHTED, node.args, strict=False)), **node.kwargs}
    if target in (F.linear, *_CONVOLUTIONS) and not is_weight(given["input"]):
        rule = Linear() if target is F.linear else _convolution(given, values)
        return Found(rule, [given["input"]], [given["weight"], given.get("bias")])
    carrying = [argument for argument in node.args if isinstance(argument, fx.Node) and is_weight(argument)]
    if len(carrying) == 1 and not node.kwargs and (spread := _broadcast(node, target, carrying[0], values)):
        return spread
    return _anything(node, module, is_weight, values)


_CONVOLUTIONS: tuple[Any, ...] = (F.conv1d, F.conv2d, F.conv3d)
_WEIGHTED = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_ELEMENTWISE: dict[Any, Callable[..., Tensor]] = {
    Add: torch.add,
    Multiply: torch.mul,
    **dict.fromkeys((operator.sub, torch.sub, "sub"), torch.sub),
    **dict.fromkeys((operator.truediv, torch.div, "div"), torch.div),
}


def _convolution(given: dict[str, Any], values: Any) -> Convolution:
    weight = values[given["weight"]]
    rank = weight.dim() - 2
    stride, dilation = (_each(given.get(name, 1), rank) for name in ("stride", "dilation"))
    padding = given.get("padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        pads = tuple(side for total in reversed(totals) for side in (total // 2, total - total // 2))
    else:
        pads = tuple(side for one in reversed(_each(padding, rank)) for side in (one, one))
    return Convolution(stride, pads, dilation, given.get("groups", 1))


def _each(value: Any, rank: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


def _broadcast(node: fx.Node, target: Any, weight: fx.Node, values: Any) -> Found | None:
    """Sums and products with data, and a weight that is repeated for every image; None for anything else."""
    rank = values[node].dim() if isinstance(values[node], Tensor) else -1
    wide = values[weight]
    if rank < wide.dim() or (rank == wide.dim() and wide.shape[0] != 1):
        return None
    if target in _ELEMENTWISE and len(node.args) == 2:
        data = next(argument for argument in node.args if argument is not weight)
        first, apply = node.args[0] is weight, _ELEMENTWISE[target]
        if not isinstance(data, fx.Node) or not isinstance(values[data], Tensor):
            return None
        return Found(
            Broadcast(lambda d, w: apply(w, d[0]) if first else apply(d[0], w), lambda d: len(d[0]), rank),
            [data],
            [weight],
        )
    if target == "expand" and node.args[0] is weight:
        return Found(
            Broadcast(lambda d, w: w.expand(*_flat(d)), lambda d: int(_flat(d)[0]), rank), node.args[1:], [weight]
        )
    if target == "repeat" and node.args[0] is weight:
        return Found(
            Broadcast(lambda d, w: _repeat(w, _flat(d)), lambda d: int(_flat(d)[0]), rank), node.args[1:], [weight]
        )
    return None


def _flat(sizes: Sequence[Any]) -> tuple[int, ...]:
    return tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else tuple(sizes)


def _repeat(rows: Tensor, times: tuple[int, ...]) -> Tensor:
    """Rows that were repeated already."""
    return rows.repeat(times[0] if len(rows) == 1 else 1, *times[1:])


def _anything(node: fx.Node, module: nn.Module | None, is_weight: Callable[[Any], bool], values: Any) -> Found:
    data = [a for a in node.all_input_nodes if not is_weight(a)]
    weights = [a for a in node.all_input_nodes if is_weight(a)]
    if not all(isinstance(values[a], Tensor) for a in data):
        raise InputError(
            f"the operation '{node.name}' combines weights with the number of images, which gives no gradient of a "
            "single one; use an architecture without it."
        )

    target: Any = node.target if module is None else module
    places, names = node.args, node.kwargs  # which the node forgets when it leaves the graph

    def run(rows: Sequence[Any], some: Weights) -> Any:
        known = dict(zip([*data, *weights], [*rows, *some], strict=True))
        args = fx.node.map_arg(places, known.__getitem__)
        kwargs = fx.node.map_arg(names, known.__getitem__)
        if isinstance(target, str):
            return getattr(args[0], target)(*args[1:], **kwargs)
        return target(*args, **kwargs)

    return Found(Anything(run, node.name), data, weights)
