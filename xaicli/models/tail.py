"""The part of a network above one of its layers, so that a changed activation does not cost a whole forward.

The network is cut with torch.fx: every module that does not contain the layer stays whole, so only the code around the
layer has to be traceable. Where that fails, or where a path leads around the layer, the network runs from the image on
and a hook replaces the layer's output; the logits are the same, the price is that of a forward.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from xaicli.models.classifier import Classifier

_AGREEMENT = 1e-6  # of the largest logit; the same operations in the same order differ by nothing


class Tail:
    """Logits for given outputs of a layer of a classifier in evaluation mode. `cut` says whether only the tail runs."""

    def __init__(self, classifier: Classifier, layer: nn.Module) -> None:
        self._classifier, self._layer = classifier, layer
        self._above = _cut(classifier, layer)

    @property
    def cut(self) -> bool:
        """Whether the layers below are left out."""
        return self._above is not None

    def __call__(self, outputs: Tensor, images: Callable[[], Tensor]) -> Tensor:
        """Logits [n, classes] for the layer's outputs [n, K, h, w], which may be overwritten.

        images: makes the rows' images [n, C, H, W]; called only where the layers below have to run.
        """
        logits: Tensor
        if self._above is not None:
            logits = self._above(outputs)
            return logits
        handle = self._layer.register_forward_hook(lambda *_: outputs)
        try:
            logits = self._classifier(images())
        finally:
            handle.remove()
        return logits


class _Around(fx.Tracer):
    """Traces through the modules around one layer and through no others."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m is self.layer or all(inner is not self.layer for inner in m.modules())


def _cut(classifier: Classifier, layer: nn.Module) -> fx.GraphModule | None:
    """The network above the layer; None where it cannot be had, or does not give the network's logits."""
    network = classifier.network
    try:
        graph = _Around(layer).trace(network)
        calls = [n for n in graph.nodes if n.op == "call_module" and network.get_submodule(str(n.target)) is layer]
        rest = _rest(graph, calls[0]) if len(calls) == 1 else None
        above = fx.GraphModule(network, rest) if rest is not None else None
        return above if above is not None and _agrees(classifier, layer, above) else None
    except Exception:  # a network that is asked with stand-ins for tensors may fail in any way it likes
        return None


def _rest(graph: fx.Graph, layer: fx.Node) -> fx.Graph | None:
    """What follows from the layer's output alone; None if something else from below is needed for the logits."""
    rest = fx.Graph()
    made = {layer: rest.placeholder("outputs")}
    follows = {layer}

    def place(node: fx.Node) -> fx.Node:
        if node not in made:
            made[node] = rest.node_copy(node, place)
        return made[node]

    for node in graph.nodes:
        if follows.isdisjoint(node.all_input_nodes):
            continue
        if any(other not in follows and other.op != "get_attr" for other in node.all_input_nodes):
            return None
        follows.add(node)
        place(node)
    return rest if any(node.op == "output" for node in rest.nodes) else None


def _agrees(classifier: Classifier, layer: nn.Module, above: fx.GraphModule) -> bool:
    """Whether the tail turns the layer's outputs for random inputs into the network's logits."""
    draws = torch.randn(2, *classifier.shape, generator=torch.Generator().manual_seed(0))
    outputs: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.clone()))
    try:
        with torch.no_grad():
            logits = classifier.network(draws.to(classifier.mean))
    finally:
        handle.remove()
    with torch.no_grad():
        again = above(outputs[0])
    return bool((again - logits).abs().max() <= _AGREEMENT * logits.abs().max())
