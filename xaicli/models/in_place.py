"""Operations that change a tensor in place, and what is the same without."""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
from torch import Tensor, fx

from xaicli.models.tracing import CanonicalError

_OUT_OF_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def leave_nothing_in_place(graph: fx.GraphModule, values: dict[fx.Node, Any]) -> None:
    """Make every operation return a new tensor; whoever reads the changed one later reads that."""
    order = {node: number for number, node in enumerate(graph.graph.nodes)}
    # all are found before the first is changed, because several calls may be of one module
    for node in [node for node in order if isinstance(values[node], Tensor) and _is_in_place(graph, node)]:
        changed = node.args[0]
        if isinstance(changed, fx.Node):
            for user in list(changed.users):
                if order[user] > order[node]:
                    user.replace_input_with(changed, node)
        if node.op == "call_module":
            setattr(graph.get_submodule(str(node.target)), "inplace", False)  # noqa: B010
            continue
        found = bound(node)
        if found is not None and "inplace" in found.arguments:
            found.arguments["inplace"] = False
            node.args, node.kwargs = found.args, found.kwargs
        else:
            node.target = _out_of_place(node)


def _is_in_place(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(graph.get_submodule(str(node.target)), "inplace", False))
    if not node.op.startswith("call"):
        return False
    found = bound(node)
    asked = found is not None and bool(found.arguments.get("inplace"))
    return asked or node.target in _OUT_OF_PLACE or _base(node) is not None


def _base(node: fx.Node) -> str | None:
    """`relu` for torch's `relu_`; None for names without a last underscore, or with one of another meaning."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    other = name.endswith("__") or getattr(node.target, "__module__", "") == operator.and_.__module__
    return name[:-1] if name.endswith("_") and not other else None


def _out_of_place(node: fx.Node) -> Any:
    if node.target in _OUT_OF_PLACE:
        return _OUT_OF_PLACE[node.target]
    name = _base(node) or ""
    if node.op == "call_method" and callable(getattr(Tensor, name, None)):
        return name
    if node.op == "call_function" and hasattr(torch, name):
        return getattr(torch, name)
    raise CanonicalError(f"it changes a tensor in place by '{name}_'")


def bound(node: fx.Node) -> inspect.BoundArguments | None:
    """The arguments of a call by their names, where Python knows them."""
    try:
        return inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # functions written in C have no signature, and no `inplace`
        return None
