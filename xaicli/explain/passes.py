"""One pass over each image: its logits, and gradients at the image or at a layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xaicli.explain.block import Block, Scored, anchor, score_of
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards


@dataclass(frozen=True)
class InputPass(Scored):
    """One forward and one backward to the input."""

    gradient: Tensor  # [n, C, H, W]


@dataclass(frozen=True)
class LayerPass(Scored):
    """One forward, and one backward through the layers above the chosen one."""

    activations: Tensor  # [n, K, h, w]
    gradients: Tensor  # [n, K, h, w]
    beside: Tensor  # [n, K, extra], the activations of tokens that belong to no place


@anchor
@forwards(1)
def prediction(block: Block) -> Scored:
    """Logits without gradients."""

    def ask(images: Tensor, labels: Tensor) -> Answer:
        logits = block.calls.classifier(images)
        return (logits, *score_of(block, logits, labels))

    with torch.no_grad():
        return Scored(*block.calls.each(ask, block.images, block.labels))


@anchor
@forwards(1)
def input_pass(block: Block) -> InputPass:
    """The gradient of the explained quantity with respect to the image."""

    def ask(images: Tensor, labels: Tensor) -> Answer:
        images = images.requires_grad_()
        logits = block.calls.classifier(images)
        target, against, value = score_of(block, logits, labels)
        (gradient,) = torch.autograd.grad(value.sum(), images)
        return logits.detach(), target, against, value.detach(), gradient

    return InputPass(*block.calls.each(ask, block.images, block.labels))


@anchor
@forwards(1)
def layer_pass(block: Block, *, layer: str = "auto") -> LayerPass:
    """Activations of a layer and the quantity's gradient there; nothing below the layer is differentiated."""
    classifier = block.calls.classifier
    module, grid = block.calls.layer(layer), block.calls.find(layer).grid

    def ask(images: Tensor, labels: Tensor) -> Answer:
        with output_of(module) as captured:
            logits = classifier(images)
        target, against, value = score_of(block, logits, labels)
        (gradients,) = torch.autograd.grad(value.sum(), captured)
        output = captured[0].detach()
        maps = grid.maps(output), grid.maps(gradients), grid.beside(output)
        return logits.detach(), target, against, value.detach(), *maps

    return LayerPass(*block.calls.each(ask, block.images, block.labels))


@contextmanager
def output_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """The layer's output during a forward, as a leaf: what lies below it is not differentiated."""
    captured: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        captured[:] = [output.detach().requires_grad_()]
        return captured[0].clone()  # a leaf must not be changed in place by the layers above

    handle = module.register_forward_hook(hook)
    try:
        yield captured
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


QUERIES = (prediction, input_pass, layer_pass, image, gradient, activations, gradients)
