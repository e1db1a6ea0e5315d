"""An operation that relevance has reached, as the rule for it sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from xaicli.errors import UnavailableError
from xaicli.explain import operations as kinds
from xaicli.explain.lrp_rules import Layer, Rule

Relevance = Any
"""A tensor of a value's shape, or a tuple of them for an operation that returns several."""
Range = tuple[Tensor, Tensor]
"""The smallest and the largest that a value can be, each in its shape."""
Shares = Sequence[tuple[Any, Relevance]]
"""Receivers with what each gets, in a shape that the receiver broadcasts to; what is no node is a constant."""


@dataclass(frozen=True)
class Rules:
    """What distinguishes one kind of relevance propagation from another.

    convolution: for linear layers at every position, averages included; dense: for those on one vector an image; box:
    from the smallest and the largest input, for those on the image. linear: norms and additions are layers of the
    epsilon rule; else norms hand on what they get, and additions share by magnitude. attention: a softmax's product is
    linear in the other factor (constant), or both factors share it (shared); None: refused.
    """

    method: str
    epsilon: float
    convolution: Rule
    dense: Rule
    box: Callable[[Tensor, Tensor], Rule] | None = None
    linear: bool = False
    attention: Literal["constant", "shared"] | None = None


@dataclass(frozen=True)
class Visit:
    """An operation with the relevance of its output.

    values: what the nodes are; moving: those that depend on the image; box: the range of the first argument, if known;
    rows: how many images there are.
    """

    network: fx.GraphModule
    node: fx.Node
    relevance: Relevance
    values: Mapping[fx.Node, Any]
    moving: Set[fx.Node]
    box: Range | None
    rules: Rules
    rows: int

    @property
    def module(self) -> Any:
        """The module that is called; None for functions and methods."""
        return module_of(self.network, self.node)

    @property
    def args(self) -> Any:
        """What the arguments are."""
        return looked_up(self.node.args, self.values.__getitem__)

    @property
    def kwargs(self) -> Any:
        """What the arguments with names are."""
        return looked_up(self.node.kwargs, self.values.__getitem__)

    @property
    def x(self) -> Tensor:
        """The first argument."""
        found: Tensor = self.values[self.node.args[0]]  # type: ignore[index]
        return found

    @property
    def depending(self) -> list[Any]:
        """The arguments' nodes, in order, that depend on the image."""
        return [arg for arg in self.node.args if isinstance(arg, fx.Node) and arg in self.moving]

    def first(self, rule: Rule, layer: Layer) -> Shares:
        """By a rule, to the first argument and a bias."""
        given, bias = rule(layer, self.relevance)
        return [(self.node.args[0], given)] if bias is None else [(self.node.args[0], given), (None, bias)]

    def refusal(self, **advice: str) -> UnavailableError:
        """What to raise when there is no rule."""
        name = str(getattr(self.node.target, "__name__", self.node.target))
        kind = name if self.module is None else type(self.module).__name__
        return kinds.no_rule(self.rules.method, kind, name, **advice)


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls; None for functions and methods."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def origin(network: fx.GraphModule, node: Any) -> nn.Module | None:
    """The module that made a value, wherever it was moved since."""
    while isinstance(node, fx.Node):
        module = module_of(network, node)
        if node.target not in kinds.MOVING and not isinstance(module, kinds.MOVES):
            return module
        node = node.args[0] if node.args else None
    return None


def called(network: fx.GraphModule, node: fx.Node, value: Callable[[fx.Node], Any]) -> Any:
    """A node's operation, its arguments looked up by `value`."""
    args, kwargs = looked_up(node.args, value), looked_up(node.kwargs, value)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    operation: Any = module_of(network, node) or node.target
    return operation(*args, **kwargs)


def looked_up(items: Any, value: Callable[[fx.Node], Any]) -> Any:
    """Arguments with every node replaced."""
    return map_aggregate(items, lambda item: value(item) if isinstance(item, fx.Node) else item)
