"""A network's canonical form in which every operation with trainable weights notes what passes through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from xaicli.errors import InputError
from xaicli.models.canonical import canonical
from xaicli.models.tracing import CanonicalError, values_of
from xaicli.train.private.choice import Found, function_rule, module_rule
from xaicli.train.private.rule import Rule


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operation: what went in, and the tensor whose gradient tells the gradients of its weights."""

    name: str
    rule: Rule
    data: list[Any]
    weights: list[Tensor | None]
    wanted: list[bool]
    asked: Tensor


@dataclass
class Tape:
    """The calls since it was last emptied, noted while it runs."""

    running: bool = False
    calls: list[Call] = field(default_factory=list)

    def take(self) -> list[Call]:
        """All calls; the tape is empty then."""
        calls, self.calls = self.calls, []
        return calls


class Site(nn.Module):
    """An operation with trainable weights, called with its data and then its weights."""

    def __init__(self, name: str, rule: Rule, data: int, tape: Tape) -> None:
        super().__init__()
        self.name, self.rule, self.data, self.tape = name, rule, data, tape

    def forward(self, *arguments: Any) -> Tensor:
        """The operation; autograd learns of its weights only while the tape does not run."""
        data, weights = list(arguments[: self.data]), list(arguments[self.data :])
        if not self.tape.running:
            return self.rule.run(data, weights)
        wanted = [weight is not None and weight.requires_grad for weight in weights]
        seen = self.rule.watch(data, [None if weight is None else weight.detach() for weight in weights])
        self.tape.calls.append(Call(self.name, self.rule, seen.data, weights, wanted, seen.asked))
        return seen.output


def watched(network: nn.Module, example: Tensor, tape: Tape) -> fx.GraphModule:
    """The form, sharing its parameters with the network; those that require gradients now are watched.

    example: normalised images [3, C, H, W], all different. Raises InputError if it is not to be had.
    """
    try:
        form = canonical(network, example)
        few, all_ = values_of(form, example[:2]), values_of(form, example)
    except CanonicalError as error:
        raise InputError(
            f"the network cannot be trained privately: {error.reason}; use an architecture that can be traced."
        ) from None
    constant = {node for node in few if _same(few[node], all_[node])}
    carrying: set[fx.Node] = set()  # weights, and what is computed from them alone
    for node in list(form.graph.nodes):
        if node.op == "get_attr":
            if isinstance(few[node], nn.Parameter) and few[node].requires_grad:
                carrying.add(node)
        elif node.op == "call_module" and _trains(form.get_submodule(str(node.target))):
            if node in constant:
                raise InputError(f"the layer '{node.target}' sees no image; use an architecture without it.")
            few[_place(form, node, module_rule(form.get_submodule(str(node.target)), node), tape)] = few[node]
        elif any(source in carrying for source in node.all_input_nodes):
            if node in constant:
                if _is_computed(few[node]):  # not of a weight's sizes
                    carrying.add(node)
            elif node.op != "output":
                module = form.get_submodule(str(node.target)) if node.op == "call_module" else None
                found = function_rule(node, module, carrying.__contains__, few)
                few[_place(form, node, found, tape)] = few[node]
    form.graph.eliminate_dead_code()
    form.graph.lint()
    form.recompile()
    return form


def _place(form: fx.GraphModule, node: fx.Node, found: Found, tape: Tape) -> fx.Node:
    """Put a site where a node is; returns its call."""
    owner = str(node.target)
    name = f"watched_{node.name}"
    site = Site(owner if node.op == "call_module" else node.name, found.rule, len(found.data), tape)
    form.add_submodule(name, site.eval())
    with form.graph.inserting_before(node):
        weights = [_weight(form, owner, weight) for weight in found.weights]
        call = form.graph.call_module(name, (*found.data, *weights))
    node.replace_all_uses_with(call)
    form.graph.erase_node(node)
    return call


def _weight(form: fx.GraphModule, owner: str, weight: Any) -> Any:
    """A node, or the parameter of this name as one."""
    if not isinstance(weight, str):
        return weight
    module, _, name = weight.rpartition(".")
    if getattr(form.get_submodule(f"{owner}.{module}" if module else owner), name) is None:
        return None
    return form.graph.get_attr(f"{owner}.{weight}")


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _is_computed(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(map(_is_computed, value)))


def _same(first: Any, second: Any) -> bool:
    """Whether a value of two and of three images is the same, so that it depends on none of them."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(_same(one, other) for one, other in zip(first, second, strict=True))
    try:
        return bool(first == second)
    except (TypeError, ValueError, RuntimeError):
        return False
