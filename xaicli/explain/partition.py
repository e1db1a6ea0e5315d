"""Partition SHAP: an image is halved again and again, best first, and each half gets its Owen value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.errors import UnavailableError
from xaicli.explain.baselines import make_baseline
from xaicli.explain.block import Block, Scored
from xaicli.explain.explanation import Explanation, PixelMaps
from xaicli.explain.hiding import responses
from xaicli.explain.quantity import score
from xaicli.run.plan import forwards
from xaicli.run.random import Stream
from xaicli.signatures import Count

ROUND = 16  # nodes that a row splits at once: 32 masks, a batch; fixed, or the map would depend on the batch size

Box = tuple[int, int, int, int]  # top, bottom, left, right


def halves(box: Box) -> tuple[Box, Box]:
    """A box cut across its longer side, rows first, as shap cuts images."""
    top, bottom, left, right = box
    if bottom - top >= right - left:
        middle = top + (bottom - top) // 2
        return (top, middle, left, right), (middle, bottom, left, right)
    middle = left + (right - left) // 2
    return (top, bottom, left, middle), (top, bottom, middle, right)


def area(box: Box) -> int:
    """A box's pixels."""
    return (box[1] - box[0]) * (box[3] - box[2])


@dataclass(frozen=True)
class Node:
    """A box in one context: what is shown beside it, and the quantity without and with the box."""

    box: Box
    context: tuple[Box, ...]
    without: float
    having: float
    weight: float

    def split(self, first: float, second: float) -> Iterator[Node]:
        """Both halves, each beside the hidden and beside the shown other one; `first`: shown alone, `second` too."""
        one, other = halves(self.box)
        weight = self.weight / 2
        yield Node(one, self.context, self.without, first, weight)
        yield Node(other, self.context, self.without, second, weight)
        yield Node(one, (*self.context, other), second, self.having, weight)
        yield Node(other, (*self.context, one), first, self.having, weight)


class Hierarchy:
    """One image's nodes; those that change the quantity most are split first, older ones on a tie."""

    def __init__(self, size: tuple[int, int], empty: float, total: float) -> None:
        self.values = np.zeros(size)
        self._waiting: list[tuple[float, int, Node]] = []
        self._age = count()
        self._put(Node((0, size[0], 0, size[1]), (), empty, total, 1.0))

    def take(self, most: int) -> list[Node]:
        """The next nodes to split; a single pixel is given its value on the way."""
        found: list[Node] = []
        while self._waiting and len(found) < most:
            node = heappop(self._waiting)[2]
            if area(node.box) > 1:
                found.append(node)
            else:
                self._settle(node)
        return found

    def split(self, nodes: list[Node], answers: list[float]) -> None:
        """Put the halves in the nodes' place; two answers a node."""
        for node, first, second in zip(nodes, answers[::2], answers[1::2], strict=True):
            for part in node.split(first, second):
                self._put(part)

    def settle(self) -> npt.NDArray[np.float64]:
        """The map [H, W]: whatever is still waiting spreads its value evenly over its pixels."""
        while self._waiting:
            self._settle(heappop(self._waiting)[2])
        return self.values

    def _put(self, node: Node) -> None:
        heappush(self._waiting, (-abs(node.having - node.without) * node.weight, next(self._age), node))

    def _settle(self, node: Node) -> None:
        top, bottom, left, right = node.box
        self.values[top:bottom, left:right] += (node.having - node.without) * node.weight / area(node.box)


def rounds(splits: int) -> list[int]:
    """How many nodes are split at a time: one, the four that it leaves, then `ROUND` until `splits` are done."""
    sizes: list[int] = []
    while (left := splits - sum(sizes)) > 0:
        sizes.append(min(left, 4 ** len(sizes), ROUND))
    return sizes


def painter(image: Tensor, hidden: Tensor, baseline: str) -> Callable[[list[tuple[Box, ...]]], Tensor]:
    """Makes images [k, C, H, W] of which only some boxes are seen; the rest looks as in `hidden` or is inpainted."""
    size = (image.shape[1], image.shape[2])

    def paint(shown: list[tuple[Box, ...]]) -> Tensor:
        masks = np.zeros((len(shown), 1, *size), dtype=np.float32)
        for mask, boxes in zip(masks, shown, strict=True):
            for top, bottom, left, right in boxes:
                mask[0, top:bottom, left:right] = 1
        seen = torch.as_tensor(masks).to(image)
        if baseline != "inpaint":
            return torch.lerp(hidden, image, seen)  # exact at 0 and 1
        filled = np.stack([inpaint(pixels, mask[0] == 0) for mask in masks])
        return torch.lerp(torch.as_tensor(filled).to(image), image, seen)

    pixels = image.cpu().numpy() if baseline == "inpaint" else np.empty(0)
    return paint


def inpaint(pixels: npt.NDArray[Any], hole: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """An image [C, H, W] with its hole filled from the border inwards (Telea, 2004), as shap does it, on 8 bits.

    Where everything is hidden the mean colour is left.
    """
    if hole.all():
        return np.broadcast_to(pixels.mean((1, 2), keepdims=True), pixels.shape)
    try:
        import cv2
    except ImportError:
        raise UnavailableError("baseline=inpaint needs OpenCV; install opencv-python-headless or use blur.") from None
    coarse = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    filled = [cv2.inpaint(channel, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA) for channel in coarse]
    return np.stack(filled) / 255


@dataclass(frozen=True)
class Owen:
    """Owen values, and the quantity when everything is hidden."""

    values: Tensor  # [n, 1, H, W]
    empty: Tensor  # [n]


@forwards(lambda evaluations: 1 + 2 * _splits(evaluations))
def owen_values(
    block: Block, prediction: Scored, stream: Stream, *, evaluations: int = 500, baseline: str = "blur"
) -> Owen:
    """The Owen value of every pixel, all rows a round at a time."""
    images = block.images
    hidden = make_baseline("mean" if baseline == "inpaint" else baseline, images, stream)
    empty = score(block.calls.logits(hidden), prediction.target, prediction.against, block.quantity)
    size = (images.shape[2], images.shape[3])
    ends = zip(empty.double().tolist(), prediction.score.double().tolist(), strict=True)
    trees = [Hierarchy(size, *pair) for pair in ends]
    painters = [painter(*parts, baseline) for parts in zip(images, hidden, strict=True)]
    everything: list[tuple[Box, ...]] = [((0, size[0], 0, size[1]),)]
    for most in rounds(_splits(evaluations)):
        nodes = [tree.take(most) for tree in trees]
        shown = [[(*node.context, half) for node in taken for half in halves(node.box)] for taken in nodes]
        # a row without so many nodes asks about its whole image instead
        shown = [boxes + everything * (2 * most - len(boxes)) for boxes in shown]

        def perturb(row: int, numbers: Tensor, shown: list[list[tuple[Box, ...]]] = shown) -> Tensor:
            return painters[row]([shown[row][number] for number in numbers.tolist()])

        answers = responses(block, prediction, 2 * most, perturb)
        for tree, taken, found in zip(trees, nodes, answers.double().tolist(), strict=True):
            tree.split(taken, found[: 2 * len(taken)])
    values = torch.as_tensor(np.stack([tree.settle() for tree in trees])).unsqueeze(1)
    return Owen(values.to(images), empty)


def _splits(evaluations: int) -> int:
    """How many nodes can be split for so many forwards, of which the image and what hides it take two."""
    return max(0, evaluations - 2) // 2


def partition_shap(
    owen_values: Owen,
    prediction: Scored,
    *,
    evaluations: Count = 500,
    baseline: Literal["blur", "inpaint", "black", "white", "mean"] = "blur",
) -> Explanation[PixelMaps]:
    """Owen values of a hierarchy that halves the image (Lundberg & Lee, 2017; Owen, 1977).

    The halves that matter most are split further until `evaluations` forwards are spent; what is not split has its
    value in equal parts on its pixels. Hidden parts look as in `baseline` or are inpainted from what is seen. Returns
    [n, 1, H, W], signed, in units of the quantity; the map sums to f(x) - f(everything hidden) up to the stored
    completeness gap.
    """
    attribution = owen_values.values
    gap = attribution.double().sum((1, 2, 3)) - (prediction.score.double() - owen_values.empty.double())
    return Explanation(attribution, gap)


QUERIES = (owen_values,)
