"""What every operation of a network does with the relevance of its output: who receives how much of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F

from xaicli.explain import lrp_layers as layers
from xaicli.explain import operations as kinds
from xaicli.explain.lrp_rules import Layer, Rule, epsilon_rule, grouped, stabilised
from xaicli.explain.lrp_visit import Relevance, Shares, Visit, called, module_of, origin
from xaicli.models.lifting import Add, Einsum, MatMul, Multiply


def hand_on(visit: Visit) -> Shares:
    """Share out an operation's relevance. Raises UnavailableError for one without a rule."""
    module, target = visit.module, visit.node.target
    if module is None:
        rule = next((rule for targets, rule in _FUNCTIONS if target in targets), None)
    else:
        rule = next((rule for types, rule in _MODULES if isinstance(module, types)), None)
    if rule is None or not kinds.is_plain(module):
        raise visit.refusal()
    return rule(visit)


def _passed(visit: Visit) -> Shares:
    return [(visit.node.args[0], visit.relevance)]


def _moved(visit: Visit) -> Shares:
    """Back to where the values came from; of a maximum, to where it was found."""
    leaves = {node: map_aggregate(visit.values[node], _leaf) for node in visit.node.all_input_nodes}
    inputs = [(node, _tensors(value)) for node, value in leaves.items() if _tensors(value)]
    with torch.enable_grad():
        outputs = _tensors(called(visit.network, visit.node, leaves.__getitem__))
    parts = [part for _, values in inputs for part in values]
    found = iter(torch.autograd.grad(outputs, parts, _tensors(visit.relevance), materialize_grads=True))
    shares: list[tuple[Any, Relevance]] = []
    for node, values in inputs:
        given = tuple(next(found) for _ in values)
        shares.append((node, given if isinstance(visit.values[node], tuple) else given[0]))
    if visit.node.target is F.pad or isinstance(visit.module, kinds.PADS):
        shares.append((None, _sums(visit.relevance, visit) - _sums(shares[0][1], visit)))
    return shares


def _weighted(visit: Visit) -> Shares:
    dense = isinstance(visit.module, nn.Linear) and visit.x.dim() == 2
    return visit.first(_rule_for(visit, dense), layers.weighted(visit.module, visit.x, visit.rows))


def _convolved(visit: Visit) -> Shares:
    if visit.depending != [visit.node.args[0]]:
        raise visit.refusal()
    return visit.first(_rule_for(visit, dense=False), layers.convolved(*visit.args, rows=visit.rows, **visit.kwargs))


def _rule_for(visit: Visit, dense: bool) -> Rule:
    if visit.box is not None and visit.rules.box is not None:
        return visit.rules.box(*visit.box)
    return visit.rules.dense if dense else visit.rules.convolution


def _averaged(visit: Visit) -> Shares:
    first = visit.node.args[0]

    def again(x: Tensor) -> Tensor:
        found: Tensor = called(visit.network, visit.node, lambda node: x if node is first else visit.values[node])
        return found

    return visit.first(visit.rules.convolution, layers.averaged(again, visit.x, visit.rows))


def _normalised(make: Callable[[Any, Tensor, int], Layer]) -> _Handler:
    def share(visit: Visit) -> Shares:
        if not visit.rules.linear:
            return _passed(visit)
        rule = epsilon_rule(visit.rules.epsilon, absorbing=True)
        return visit.first(rule, make(visit.module, visit.x, visit.rows))

    return share


def _added(visit: Visit) -> Shares:
    """A sum or difference of two: signed shares if linear; else by magnitude, and constants get nothing."""
    if visit.node.kwargs:
        raise visit.refusal()
    terms, (first, second) = visit.node.args, visit.args
    second = -second if visit.node.target in kinds.SUBTRACTING else second
    if visit.rules.linear:
        quotient = visit.relevance / stabilised(first + second, visit.rows, visit.rules.epsilon)
        return [(terms[0], first * quotient), (terms[1], second * quotient)]
    moving = visit.depending
    if len(moving) == 1:
        return [(moving[0], visit.relevance)]
    size = first.abs() + second.abs()
    share = torch.where(size == 0, 0.5, first.abs() / torch.where(size == 0, 1, size))
    return [(terms[0], share * visit.relevance), (terms[1], (1 - share) * visit.relevance)]


def _multiplied(visit: Visit) -> Shares:
    """To the factor that is no gate; two factors of one kind share evenly."""
    if visit.node.kwargs:
        raise visit.refusal()
    moving = visit.depending
    if len(moving) == 1:
        return [(moving[0], visit.relevance)]
    gates = [isinstance(origin(visit.network, factor), kinds.GATES) for factor in moving]
    if gates[0] == gates[1]:
        sizes = [visit.values[factor].numel() for factor in moving]
        gates = [size < max(sizes) for size in sizes]  # what is broadcast scales what is not
    if gates[0] == gates[1]:
        return [(factor, visit.relevance / 2) for factor in moving]
    return [(moving[gates.index(False)], visit.relevance)]


def _divided(visit: Visit) -> Shares:
    if visit.node.kwargs or visit.depending != [visit.node.args[0]]:
        raise visit.refusal()
    return _passed(visit)


def _contracted(visit: Visit) -> Shares:
    """A matrix product: linear in its factor that depends on the image, or in both where one is attention."""
    factors: list[Any] = list(visit.node.args)
    moving = visit.depending
    if len(moving) == 2:
        weights = [factor for factor in moving if isinstance(origin(visit.network, factor), nn.Softmax)]
        if len(weights) == 1 and visit.rules.attention is None:
            raise visit.refusal(instead="transformer-lrp, which is made for attention")
        if len(weights) != 1 and visit.rules.attention != "shared":
            raise visit.refusal()
        if visit.rules.attention == "constant":
            moving.remove(weights[0])
    shares: list[tuple[Any, Relevance]] = []
    for number, factor in enumerate(factors):
        if factor not in moving:
            continue
        x, weight = visit.values[factor], visit.values[factors[1 - number]]

        def apply(x: Tensor, weight: Tensor, number: int = number) -> Tensor:
            found: Tensor = visit.module(x, weight) if number == 0 else visit.module(weight, x)
            return found

        given, _ = visit.rules.convolution(Layer(apply, x, weight, None, visit.rows), visit.relevance)
        shares.append((factor, given / len(moving)))
    return shares


def _softmax(visit: Visit) -> Shares:
    """By input times gradient; what is left over is that of the expansion's constant (Achtibat et al., 2024)."""
    if visit.rules.attention != "shared":
        raise visit.refusal()
    x = visit.x.detach().requires_grad_()
    with torch.enable_grad():
        y = visit.module(x)
    quotient = visit.relevance / stabilised(y.detach(), visit.rows, visit.rules.epsilon)
    given = visit.x * torch.autograd.grad(y, x, quotient)[0]
    return [(visit.node.args[0], given), (None, _sums(visit.relevance, visit) - _sums(given, visit))]


def has_attention(network: fx.GraphModule) -> bool:
    """Whether some matrix product has a softmax as one of its factors."""
    products = (node for node in network.graph.nodes if isinstance(module_of(network, node), (MatMul, Einsum)))
    return any(isinstance(origin(network, factor), nn.Softmax) for node in products for factor in node.args)


def _leaf(value: Any) -> Any:
    tensor = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().requires_grad_() if tensor else value


def _tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_aggregate(value, lambda part: found.append(part) if isinstance(part, Tensor) else None)
    return found


def _sums(relevance: Tensor, visit: Visit) -> Tensor:
    return grouped(relevance, visit.rows).double().sum(1)


_Handler = Callable[[Visit], Shares]
_MODULES: tuple[tuple[tuple[type[nn.Module], ...], _Handler], ...] = (
    (kinds.WEIGHTED, _weighted),
    (kinds.BATCH_NORMS, _normalised(layers.batch_norm)),
    ((nn.LayerNorm,), _normalised(layers.layer_norm)),
    ((nn.GroupNorm,), _normalised(layers.group_norm)),
    (kinds.AVERAGES, _averaged),
    ((*kinds.MOVES, *kinds.MAXIMA), _moved),
    (kinds.ELEMENTWISE, _passed),
    ((Add,), _added),
    ((Multiply,), _multiplied),
    ((MatMul, Einsum), _contracted),
    ((nn.Softmax,), _softmax),
)
_FUNCTIONS: tuple[tuple[frozenset[Any], _Handler], ...] = (
    (kinds.MOVING, _moved),
    (kinds.ADDING | kinds.SUBTRACTING, _added),
    (kinds.NEGATING, _passed),
    (kinds.SUMMING, _averaged),
    (kinds.MULTIPLYING, _multiplied),
    (kinds.DIVIDING, _divided),
    (frozenset({F.conv2d}), _convolved),
)
