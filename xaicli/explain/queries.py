"""The questions that attribution methods ask of a model, each asked once per block and shared by all methods.

A query marked `anchor` carries the logits on the row's own image and the class they lead to; a method's stored
prediction and target are those of its first anchor, so they do not depend on which other methods run beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from xaicli.explain.baselines import make_baseline
from xaicli.explain.quantity import Target, score
from xaicli.run.calls import Answer, Calls
from xaicli.run.plan import Function, Queries, forwards
from xaicli.run.random import Stream

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Block:
    """The root of all queries: some rows and how to ask about them."""

    calls: Calls
    images: Tensor  # [n, C, H, W] in [0, 1], in the model's dtype
    labels: Tensor  # int64 [n], 65535 unknown
    target: Target
    quantity: str


@dataclass(frozen=True)
class Scored:
    """What the model says about the rows' own images."""

    logits: Tensor  # [n, K]
    target: Tensor  # int64 [n]
    against: Tensor  # int64 [n]
    score: Tensor  # [n], the explained quantity


@dataclass(frozen=True)
class InputPass(Scored):
    """One forward and one backward to the input."""

    gradient: Tensor  # [n, C, H, W]


@dataclass(frozen=True)
class LayerPass(Scored):
    """One forward, and one backward through the layers above the chosen one."""

    activations: Tensor  # [n, K, h, w]
    gradients: Tensor  # [n, K, h, w]


@dataclass(frozen=True)
class PathPass:
    """The gradient averaged along the straight path from a baseline, and the quantity at the baseline."""

    gradient: Tensor  # [n, C, H, W]
    baseline: Tensor  # [n, C, H, W]
    baseline_score: Tensor  # [n]


def anchor(function: F) -> F:
    """Mark a query whose answer is a `Scored`."""
    function.anchor = True  # type: ignore[attr-defined]
    return function


def _score(block: Block, logits: Tensor, labels: Tensor) -> Answer:
    target, against = block.target.resolve(logits.detach(), labels)
    return target, against, score(logits, target, against, block.quantity)


@anchor
@forwards(1)
def prediction(block: Block) -> Scored:
    """Logits without gradients."""

    def ask(images: Tensor, labels: Tensor) -> Answer:
        logits = block.calls.classifier(images)
        return (logits, *_score(block, logits, labels))

    with torch.no_grad():
        return Scored(*block.calls.each(ask, block.images, block.labels))


@anchor
@forwards(1)
def input_pass(block: Block) -> InputPass:
    """The gradient of the explained quantity with respect to the image."""

    def ask(images: Tensor, labels: Tensor) -> Answer:
        images = images.requires_grad_()
        logits = block.calls.classifier(images)
        target, against, value = _score(block, logits, labels)
        (gradient,) = torch.autograd.grad(value.sum(), images)
        return logits.detach(), target, against, value.detach(), gradient

    return InputPass(*block.calls.each(ask, block.images, block.labels))


@anchor
@forwards(1)
def layer_pass(block: Block, *, layer: str = "auto") -> LayerPass:
    """Activations of a layer and the quantity's gradient there; nothing below the layer is differentiated."""
    classifier = block.calls.classifier
    module = block.calls.layer(layer)
    captured: list[Tensor] = []

    def hook(_module: torch.nn.Module, _inputs: object, output: Tensor) -> Tensor:
        captured[:] = [output.detach().requires_grad_()]
        return captured[0].clone()  # a leaf must not be changed in place by the layers above

    def ask(images: Tensor, labels: Tensor) -> Answer:
        logits = classifier(images)
        target, against, value = _score(block, logits, labels)
        (gradients,) = torch.autograd.grad(value.sum(), captured)
        return logits.detach(), target, against, value.detach(), captured[0].detach(), gradients

    handle = module.register_forward_hook(hook)
    try:
        return LayerPass(*block.calls.each(ask, block.images, block.labels))
    finally:
        handle.remove()


def image(block: Block) -> Tensor:
    """The rows' images, [n, C, H, W]."""
    return block.images


def gradient(input_pass: InputPass) -> Tensor:
    """The gradient at the image, [n, C, H, W]."""
    return input_pass.gradient


def activations(layer_pass: LayerPass) -> Tensor:
    """The layer's output, [n, K, h, w]."""
    return layer_pass.activations


def gradients(layer_pass: LayerPass) -> Tensor:
    """The gradient at the layer's output, [n, K, h, w]."""
    return layer_pass.gradients


def baseline_image(block: Block, stream: Stream, *, baseline: str = "black") -> Tensor:
    """The image that stands for the absence of evidence, [n, C, H, W]."""
    return make_baseline(baseline, block.images, stream)


@forwards(lambda steps: steps + 1)
def path_pass(block: Block, prediction: Scored, baseline_image: Tensor, *, steps: int = 50) -> PathPass:
    """Gauss-Legendre average of the gradient over the straight path from the baseline to the image."""
    calls, images = block.calls, block.images
    points, weights = np.polynomial.legendre.leggauss(steps)
    nodes = torch.as_tensor((points + 1) / 2, dtype=images.dtype, device=images.device)
    shares = torch.as_tensor(weights / 2, dtype=images.dtype, device=images.device)
    difference, count = images - baseline_image, len(images)

    def build(items: Tensor) -> Answer:
        rows, at = items % count, nodes[items // count].view(-1, 1, 1, 1)
        points = (difference.index_select(0, rows) * at).add_(baseline_image.index_select(0, rows))
        return points, prediction.target[rows], prediction.against[rows]

    def ask(points: Tensor, target: Tensor, against: Tensor) -> Answer:
        points = points.requires_grad_()
        value = score(calls.classifier(points), target, against, block.quantity)
        return torch.autograd.grad(value.sum(), points)

    total = torch.zeros_like(images)
    for items, (part,) in calls.over(count * steps, build, ask):
        # all rows at one step, then all at the next: a row's terms are added in order, however the batches are cut
        first, done = int(items[0]), 0
        while done < len(part):
            row, share = (first + done) % count, shares[(first + done) // count]
            end = min(row + len(part) - done, count)
            total[row:end] += share * part[done : done + end - row]
            done += end - row
    at_baseline = score(calls.logits(baseline_image), prediction.target, prediction.against, block.quantity)
    return PathPass(total, baseline_image, at_baseline)


QUERIES: dict[str, Function] = {
    function.__name__: function
    for function in (
        prediction,
        input_pass,
        layer_pass,
        image,
        gradient,
        activations,
        gradients,
        baseline_image,
        path_pass,
    )
}

EXPLAIN = Queries(QUERIES, frozenset({"block"}))


def anchor_of(function: Function, queries: Queries = EXPLAIN) -> str:
    """The query whose logits and target a method's rows carry."""
    return next(
        (name for name in queries.below(function) if getattr(queries.functions.get(name), "anchor", False)),
        "prediction",
    )
