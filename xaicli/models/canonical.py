"""The canonical form of a network: one graph of modules, each called once, out of place, with nothing random in it.

Methods that need a rule for every operation (DeepLift, LRP) read this form instead of the network. The user's network
is never modified; the form shares its parameters, but for BatchNorms that are folded.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from xaicli.models.attention import open_functions
from xaicli.models.in_place import bound, leave_nothing_in_place
from xaicli.models.lifting import lifted
from xaicli.models.tracing import CanonicalError, memo_of, trace, twin_of, values_of

TOLERANCE = 1e-4  # of the largest logit

_DROPOUTS = {
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "stochastic_depth",
    "drop_path",
}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def canonical(network: nn.Module, example: Tensor, *, fold: bool = False) -> fx.GraphModule:
    """The network, in evaluation mode, as a graph whose logits on the example are equal to 1e-4.

    example: normalised images [N, C, H, W] that are not constant, or differences would not show. fold: put BatchNorms
    into the convolution or linear layer before them where nothing else reads its output. Raises CanonicalError.
    """
    twin = twin_of(network)
    with torch.no_grad():
        expected = twin(example.clone())
    graph = trace(twin)
    values = values_of(graph, example)
    if open_functions(graph, values):
        values = values_of(graph, example)
    leave_nothing_in_place(graph, values)
    graph.graph.eliminate_dead_code()  # not before: what is dead may have changed a tensor in place
    _drop_what_only_training_does(graph)
    _lift(graph, values)
    _unshare(graph)
    if fold:
        _fold(graph)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()
    graph.eval()
    _compare(graph, example, expected)
    return graph


def _drop_what_only_training_does(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if node.op == "call_module":
            idle = isinstance(graph.get_submodule(str(node.target)), (_DropoutNd, nn.Identity))
        else:
            idle = node.op == "call_function" and getattr(node.target, "__name__", "") in _DROPOUTS
        if not idle:
            continue
        given = bound(node)
        if node.op == "call_function" and given is not None:
            given.apply_defaults()
            if given.arguments.get("training", True) and given.arguments.get("p", 1):
                raise CanonicalError(
                    f"its '{getattr(node.target, '__name__', '')}' is random in evaluation mode as well"
                )
        node.replace_all_uses_with(node.args[0])
        graph.graph.erase_node(node)


def _lift(graph: fx.GraphModule, values: dict[fx.Node, Any]) -> None:
    for node in list(graph.graph.nodes):
        if node.op not in ("call_function", "call_method"):
            continue
        found = lifted(node, values)
        if found is None:
            continue
        module, inputs = found
        name = _free(graph, node.name)
        graph.add_submodule(name, module.eval())
        with graph.graph.inserting_before(node):
            call = graph.graph.call_module(name, tuple(inputs))
        values[call] = values[node]
        node.replace_all_uses_with(call)
        graph.graph.erase_node(node)


def _unshare(graph: fx.GraphModule) -> None:
    """Give every call a module of its own; those that were one share their parameters."""
    seen: set[str] = set()
    for node in graph.graph.nodes:
        if node.op != "call_module":
            continue
        name = str(node.target)
        if name in seen:
            module = graph.get_submodule(name)
            node.target = name = _free(graph, name)
            graph.add_submodule(name, copy.deepcopy(module, memo_of(module)))
        seen.add(name)


def _free(graph: fx.GraphModule, name: str) -> str:
    """The name, with a number behind it if it is taken."""
    owner, _, child = name.rpartition(".")
    taken = graph.get_submodule(owner) if owner else graph
    number, free = 1, child
    while hasattr(taken, free):
        free, number = f"{child}_{number}", number + 1
    return f"{owner}.{free}" if owner else free


def _fold(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        norm, layer = graph.get_submodule(str(node.target)), graph.get_submodule(str(before.target))
        if not isinstance(norm, _BatchNorm) or type(norm) not in _BATCH_NORMS or norm.running_mean is None:
            continue
        if isinstance(layer, _CONVOLUTIONS) and type(layer) in _CONVOLUTIONS:  # a subclass may compute its weight
            folded: nn.Module = fuse_conv_bn_eval(layer, norm)
        elif type(layer) is nn.Linear and type(norm) is nn.BatchNorm1d and layer.out_features == norm.num_features:
            folded = fuse_linear_bn_eval(layer, norm)
        else:
            continue
        owner, _, child = str(before.target).rpartition(".")
        setattr(graph.get_submodule(owner), child, folded)
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)


def _compare(graph: fx.GraphModule, example: Tensor, expected: Any) -> None:
    with torch.no_grad():
        found = graph(example)
    if not isinstance(found, Tensor) or not isinstance(expected, Tensor) or found.shape != expected.shape:
        raise CanonicalError(f"it returns {type(expected).__name__} instead of one tensor of logits")
    error = (found - expected).abs().max().item()
    allowed = TOLERANCE * expected.abs().max().item()
    if not error <= allowed:  # also when it is not a number
        raise CanonicalError(f"rewritten, its logits differ by {error:.2g}, more than {allowed:.2g}")
