"""The walk of layer-wise relevance propagation: backwards through the canonical form of a network.

One forward remembers what every operation returned. Backwards, each operation hands the relevance of its output to
what it was made of; what reaches a bias or another constant of the network is absorbed there. So at every step, what is
held and what is absorbed add up to the relevance of the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from xaicli.explain import operations as kinds
from xaicli.explain.lrp_operations import hand_on
from xaicli.explain.lrp_rules import grouped
from xaicli.explain.lrp_visit import Range, Relevance, Rules, Visit, called, module_of
from xaicli.models.lifting import Add, Multiply

_SCALING = kinds.ADDING | kinds.SUBTRACTING | kinds.NEGATING | kinds.MULTIPLYING | kinds.DIVIDING
_SCALES = (*kinds.BATCH_NORMS, Add, Multiply)


@dataclass(frozen=True)
class Cut:
    """A cut through the network, above which everything has been handed on.

    held: the relevance that operations below have so far; the topmost hands on next. absorbed: what constants of the
    network have taken above, float64 [n].
    """

    held: Mapping[fx.Node, Relevance]
    absorbed: Tensor


class Walk:
    """One forward of normalised images [n, C, H, W] through a canonical network, ready for one way back.

    ends: the smallest and the largest image there is, in a shape that goes with images, for rules that ask for them.
    """

    def __init__(self, network: fx.GraphModule, images: Tensor, rules: Rules, ends: Range | None = None) -> None:
        self._network, self._rules, self._rows = network, rules, len(images)
        recorder = fx.Interpreter(network, garbage_collect_values=False)
        recorder.extra_traceback = False  # or it would lengthen our messages
        with torch.no_grad():
            recorder.run(images)
        self._values: dict[fx.Node, Any] = recorder.env
        self._nodes = list(network.graph.nodes)
        self.image = next(node for node in self._nodes if node.op == "placeholder")
        self._top: Any = self._nodes[-1].args[0]
        self._moving = _depending(self.image, self._nodes, self._values)
        self._ranges: dict[fx.Node, Range] = {}
        if ends is not None and rules.box is not None:
            self._ranges[self.image] = (ends[0].expand_as(images), ends[1].expand_as(images))
            self._spread_ranges()

    @property
    def logits(self) -> Tensor:
        """What the network says, [n, K]; to be read before the way back."""
        found: Tensor = self._values[self._top]
        return found

    def back(self, relevance: Tensor) -> Iterator[Cut]:
        """Every cut, from the relevance of the logits [n, K] to that of the image, which is all that the last holds.

        To be walked once, as values are forgotten on the way. Raises UnavailableError for operations without a rule.
        """
        held: dict[fx.Node, Relevance] = {self._top: relevance}
        absorbed = torch.zeros(self._rows, dtype=torch.float64, device=relevance.device)
        for node in reversed(self._nodes):
            if node is self.image:
                continue
            if node in held:
                yield Cut(held, absorbed)
                with torch.no_grad():
                    for receiver, share in hand_on(self._visit(node, held.pop(node))):
                        if isinstance(receiver, fx.Node) and receiver in self._moving:
                            held[receiver] = _added(held.get(receiver), share, self._values[receiver])
                        else:
                            absorbed = absorbed + grouped(share, self._rows).double().sum(1)
            del self._values[node]
        held.setdefault(self.image, torch.zeros_like(self._values[self.image]))
        yield Cut(held, absorbed)

    def _visit(self, node: fx.Node, relevance: Relevance) -> Visit:
        first: Any = node.args[0]
        box = self._ranges.get(first) if isinstance(first, fx.Node) else None
        return Visit(self._network, node, relevance, self._values, self._moving, box, self._rules, self._rows)

    def _spread_ranges(self) -> None:
        """The smallest and the largest of every value that the image reaches by scaling, shifting and moving alone."""
        for node in self._nodes:
            moving = [other for other in node.all_input_nodes if other in self._moving]
            module = module_of(self._network, node)
            moves = node.target in kinds.MOVING or isinstance(module, kinds.MOVES)
            scales = len(moving) == 1 and (node.target in _SCALING or isinstance(module, _SCALES))
            if moving and (moves or scales) and all(other in self._ranges for other in moving):
                low, high = (self._at_end(node, end) for end in (0, 1))
                if isinstance(low, Tensor) and isinstance(high, Tensor):
                    self._ranges[node] = (torch.minimum(low, high), torch.maximum(low, high))

    def _at_end(self, node: fx.Node, end: int) -> Any:
        with torch.no_grad():
            return called(
                self._network, node, lambda arg: self._ranges[arg][end] if arg in self._ranges else self._values[arg]
            )


def _depending(image: fx.Node, nodes: Sequence[fx.Node], values: Mapping[fx.Node, Any]) -> Set[fx.Node]:
    """The nodes whose values, not only their sizes, come from the image."""
    found = {image}
    for node in nodes:
        if any(other in found for other in node.all_input_nodes) and _has_tensor(values[node]):
            found.add(node)
    return found


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple) and any(_has_tensor(part) for part in value))


def _added(before: Relevance | None, share: Relevance, value: Any) -> Relevance:
    """One more share for a value that may have been broadcast."""
    if isinstance(value, tuple):
        return share if before is None else tuple(a + b for a, b in zip(before, share, strict=True))
    reduced = share if share.shape == value.shape else share.sum_to_size(value.shape)
    return reduced if before is None else before + reduced
