"""A network as a torch.fx graph of its operations, in evaluation mode, without touching the network."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn

from xaicli.errors import UnavailableError
from xaicli.models.attention import open_modules
from xaicli.models.contract import first_line


class CanonicalError(UnavailableError):
    """The network has no canonical form; the message says which operation is in the way."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the network cannot be rewritten as this method needs it: {reason}; "
            "use a method that does not rewrite it, such as integrated-gradients."
        )
        self.reason = reason


def traceable(network: nn.Module) -> str | None:
    """Why the network cannot be traced, or None when it can."""
    try:
        trace(twin_of(network))
    except CanonicalError as error:
        return str(error)
    return None


def twin_of(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode with the network's own tensors, so that its modules can be changed freely."""
    try:
        return copy.deepcopy(network, memo_of(network)).eval()
    except Exception as error:  # whatever a user's module raises
        raise CanonicalError(f"{type(network).__name__} cannot be copied ({_first_line(error)})") from None


def memo_of(module: nn.Module) -> dict[int, Any]:
    """What a deep copy takes over as it is."""
    return {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}


def trace(twin: nn.Module) -> fx.GraphModule:
    """The graph of a copy, which is changed; arguments other than the images keep their defaults."""
    open_modules(twin)
    try:
        _, *others = inspect.signature(twin.forward).parameters.values()
        defaults = {other.name: other.default for other in others if other.default is not other.empty}
        traced = fx.GraphModule(twin, fx.Tracer().trace(twin, defaults))
    except Exception as error:  # whatever a network's Python code raises when it is given symbols instead of images
        raise CanonicalError(f"{type(twin).__name__} cannot be traced ({_first_line(error)})") from None
    _, *rest = (node for node in traced.graph.nodes if node.op == "placeholder")
    for node in list(reversed(traced.graph.nodes)):
        if getattr(node.target, "__name__", "") in ("_assert", "_assert_is_none"):  # of shapes, or of the defaults
            traced.graph.erase_node(node)
        elif node in rest:
            for user in list(node.users):  # compared with the default
                traced.graph.erase_node(user)
            traced.graph.erase_node(node)
    traced.recompile()
    return traced


def _first_line(error: Exception) -> str:
    return (first_line(error) or type(error).__name__).rstrip(".")


def values_of(graph: fx.GraphModule, example: Tensor) -> dict[fx.Node, Any]:
    """What every node is for the example; of interest are kinds and shapes, and constants themselves."""
    recorder = fx.Interpreter(graph, garbage_collect_values=False)
    recorder.extra_traceback = False
    try:
        with torch.no_grad():
            recorder.run(example.clone())  # the network may still change it in place
    except Exception as error:  # the trace is of symbols, and may not hold for images
        raise CanonicalError(f"traced, it fails ({_first_line(error)})") from None
    return dict(recorder.env)
