"""Attention alone: how much of what a network reads at its end comes from each patch, were there nothing but attention.

The network's canonical form runs as it is, and beside every tensor that holds tokens runs a second one in which a token
is a single number, the same in all channels: what it holds of a patch. Attention mixes these numbers, a shortcut
averages them, reshaping moves them, and what works token by token leaves them alone. All of that is linear, so one
gradient from the end to the patches is the row that would be looked at in the product of all attention matrices; no two
matrices are ever multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F

from xaicli.errors import UnavailableError
from xaicli.explain import operations as kinds
from xaicli.models.lifting import Add, Cat, MatMul, Multiply

Heads = Callable[[Tensor], Tensor]  # [B, heads, T, T] -> [B, T, T]


@dataclass(frozen=True)
class Tokens:
    """What an operation returns, and what each of its tokens holds of the patches.

    share: of x's shape, constant within a token. weight: the attention of all heads together by which the share has
    come, of x's shape; None where that is 1.
    """

    x: Any
    share: Any
    weight: Any = None


@dataclass(frozen=True)
class Scores:
    """Products of tokens with tokens; `rows`: a softmax has made their rows sum to 1, so they are attention."""

    x: Any
    rows: bool = False


def rolled_out(network: fx.GraphModule, images: Tensor, heads: Heads) -> Tensor:
    """The share of every patch in what the logits are made of, [n, 1, h, w], for normalised images.

    network: in canonical form. heads: how the attention of several heads becomes one. Raises UnavailableError for a
    network without attention, or with an operation that mixes tokens in another way.
    """
    rollout = _Rollout(network, heads)
    found = rollout.run(images)
    if not rollout.mixed or not isinstance(found, Tokens):
        raise _without_attention()
    (shares,) = torch.autograd.grad(found.share[:, 0].sum(), rollout.patches)
    return shares


class _Rollout(fx.Interpreter):
    """Runs a canonical network; after a run, `patches` [n, 1, h, w] is where the gradient is wanted."""

    def __init__(self, network: fx.GraphModule, heads: Heads) -> None:
        super().__init__(network)
        self.extra_traceback = False  # or it would lengthen our message
        self.heads = heads
        self.patches = torch.zeros(())
        self.mixed = 0
        self._embedding = _embedding(network)
        self._below: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        """Places become tokens where the last convolution below all attention has made them."""
        result = super().run_node(n)
        below = n.op == "placeholder" or not self._below.isdisjoint(n.all_input_nodes)
        if n is self._embedding:
            self.patches = torch.zeros_like(result[:, :1]).requires_grad_()
            return Tokens(result, self.patches.expand_as(result))
        if below and isinstance(result, Tensor):
            self._below.add(n)
        elif below and isinstance(result, Tokens):
            raise _no_rule("shortcut around its patches", n.name)
        return result

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A module by what its type does to tokens."""
        module = self.fetch_attr(target)
        held = _held((args, kwargs))
        if not held:
            return _real(module, args, kwargs)
        if isinstance(module, nn.Softmax):
            return _softmax(module, args[0])
        if isinstance(module, MatMul):
            return self._product(module, *args)
        if any(isinstance(value, Scores) for value in held):
            return _score(module, type(module).__name__, args, kwargs)
        if isinstance(module, (Add, Multiply)):
            return _joined(module, *args)
        if isinstance(module, nn.Linear) or _is_pointwise(module):
            return _along_channels(module, args, {}, 1 if isinstance(module, nn.Conv2d) else -1)
        if isinstance(module, (nn.LayerNorm, *kinds.BATCH_NORMS, *kinds.ELEMENTWISE)):
            return Tokens(_real(module, args, kwargs), args[0].share, args[0].weight)
        if isinstance(module, (*kinds.AVERAGES, *kinds.MOVES)):
            return _moved(module, _with_empty_tokens(args) if isinstance(module, Cat) else args, kwargs)
        raise _no_rule(type(module).__name__, target)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function that moves tokens, or works on each by itself."""
        return self._call(target, target, getattr(target, "__name__", str(target)), args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A method that moves tokens, or works on each by itself."""
        return self._call(target, lambda x, *rest, **named: getattr(x, target)(*rest, **named), target, args, kwargs)

    def _call(self, target: Any, function: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        held = _held((args, kwargs))
        if not held or target is getattr or target in ("size", "dim"):  # sizes are the same on all sides
            return _real(function, args, kwargs)
        if any(isinstance(value, Scores) for value in held):
            return _score(function, name, args, kwargs)
        if target is F.linear:
            return _along_channels(function, args, kwargs, -1)
        if target in _TOKEN_BY_TOKEN:
            return Tokens(_real(function, args, kwargs), args[0].share, args[0].weight)
        if target in kinds.MOVING:
            return _moved(function, args, kwargs)
        if target in _BY_A_CONSTANT and len(held) == 1 and len(args) == 2:
            return _joined(function, *args)
        raise _no_rule(name, name)

    def _product(self, module: MatMul, first: Any, second: Any) -> Tokens | Scores:
        """Attention times tokens mixes them; tokens times tokens are scores."""
        x = _real(module, (first, second), {})
        if isinstance(first, Scores) and first.rows and isinstance(second, Tokens) and x.dim() == 4:
            self.mixed += 1
            attention = self.heads(first.x)
            total = attention.sum(-1)
            held = second.share.mean((1, 3))  # [B, T], the same in all heads and channels
            mixed = torch.einsum("bij,bj->bi", attention, held) / total
            share, weight = (numbers[:, None, :, None].expand_as(x) for numbers in (mixed, total))
            return Tokens(x, share, weight)
        if isinstance(first, Scores) or isinstance(second, Scores):
            raise _no_rule("matmul", "of attention that is no softmax for each head")
        return Scores(x)


def _embedding(network: fx.GraphModule) -> fx.Node:
    """The last convolution before the first softmax."""
    last: fx.Node | None = None
    for node in network.graph.nodes:
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d):
            last = node
        elif isinstance(module, nn.Softmax) and last is not None:
            return last
    raise _without_attention()


def _softmax(module: nn.Softmax, value: Tokens | Scores) -> Tokens | Scores:
    """Attention, if it is of scores over their last axis; of tokens, what a network may end with."""
    x = _real(module, (value,), {})
    if isinstance(value, Tokens):
        return Tokens(x, value.share, value.weight)
    return Scores(x, rows=module.dim in (-1, x.dim() - 1))


def _score(function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Whatever is done to scores alone: masks, position biases, other shapes."""
    if any(isinstance(value, Tokens) for value in _held((args, kwargs))):
        raise _no_rule(name, "of attention with tokens")
    return Scores(_real(function, args, kwargs))


def _joined(function: Callable[..., Any], first: Any, second: Any) -> Tokens:
    """Two branches count alike, attention of several heads by its sum; with a constant, only the tokens count."""
    x = _real(function, (first, second), {})
    if not isinstance(first, Tokens) or not isinstance(second, Tokens):
        one = first if isinstance(first, Tokens) else second
        return Tokens(x, one.share.expand_as(x), None if one.weight is None else one.weight.expand_as(x))
    weights = [1 if one.weight is None else one.weight for one in (first, second)]
    share = (weights[0] * first.share + weights[1] * second.share) / (weights[0] + weights[1])
    return Tokens(x, share)


def _along_channels(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], axis: int) -> Tokens:
    """New channels out of all channels of a token; of several tokens' (patch merging) equally."""
    x = _real(function, args, kwargs)
    sides = (args[0].share, args[0].weight)
    share, weight = (None if side is None else side.mean(axis, keepdim=True).expand_as(x) for side in sides)
    return Tokens(x, share, weight)


def _moved(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What is linear and the same for all channels; several results come apart again."""
    x = _real(function, args, kwargs)
    share = function(*_side(args, "share"), **_side(kwargs, "share"))
    weighted = any(getattr(value, "weight", None) is not None for value in _held((args, kwargs)))
    weight = function(*_side(args, "weight"), **_side(kwargs, "weight")) if weighted else None
    if isinstance(x, Tensor):
        return Tokens(x, share, weight)
    parts = zip(x, share, weight or [None] * len(x), strict=True)
    return tuple(Tokens(*part) for part in parts)


def _with_empty_tokens(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tokens that a network brings itself, of its class or for nothing, hold nothing of the patches."""
    return tuple(arg if isinstance(arg, Tokens) else Tokens(arg, torch.zeros_like(arg)) for arg in args)


def _is_pointwise(module: nn.Module) -> bool:
    """Whether a convolution works on each place by itself."""
    return isinstance(module, nn.Conv2d) and {*module.kernel_size, *module.stride} == {1}


def _real(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with torch.no_grad():
        return function(*_side(args, "x"), **_side(kwargs, "x"))


def _side(values: Any, name: str) -> Any:
    def pick(value: Any) -> Any:
        if not isinstance(value, (Tokens, Scores)):
            return value
        side = getattr(value, name)
        return torch.ones_like(value.x) if side is None else side

    return map_aggregate(values, pick)


def _held(values: Any) -> list[Tokens | Scores]:
    found: list[Tokens | Scores] = []
    map_aggregate(values, lambda value: found.append(value) if isinstance(value, (Tokens, Scores)) else None)
    return found


def _no_rule(kind: str, name: str) -> UnavailableError:
    return kinds.no_rule("attention-rollout", kind, name, "gradcam, or integrated-gradients")


def _without_attention() -> UnavailableError:
    return UnavailableError(
        "attention-rollout explains attention, and finds none in this network; use gradcam, or integrated-gradients."
    )


_TOKEN_BY_TOKEN = kinds.NEGATING | {F.normalize}
_BY_A_CONSTANT = kinds.ADDING | kinds.SUBTRACTING | kinds.MULTIPLYING | kinds.DIVIDING
