"""Grad-CAM with another question at its root: against similar classes, or with the curvature taken into account."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from xaicli.explain.block import Block, anchor, score_of
from xaicli.explain.cams import gradcam
from xaicli.explain.explanation import PixelMaps
from xaicli.explain.passes import LayerPass, output_of
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards
from xaicli.signatures import Count, NonNegative


@dataclass(frozen=True)
class CurvedPass(LayerPass):
    """A layer pass with the second derivative in the direction of the activations."""

    curvature: Tensor  # [n, K, h, w], the Hessian times the activations


def finercam(
    finer_pass: LayerPass, *, layer: str = "auto", alpha: NonNegative = 1.0, classes: Count = 3, relu: bool = True
) -> PixelMaps:
    """Finer-CAM: Grad-CAM of what sets a class apart from the most similar ones (Zhang et al., 2025).

    It explains the class's logit less `alpha` times the logits of the `classes` with the nearest logits, averaged with
    their probabilities as weights, whatever the quantity. Returns [n, 1, h, w], signed if not `relu`, in logits.
    """
    return gradcam(finer_pass.activations, finer_pass.gradients, relu=relu)


def shapleycam(curved_pass: CurvedPass, *, layer: str = "auto", rest: bool = True, relu: bool = True) -> PixelMaps:
    """Shapley-CAM: Grad-CAM whose gradient is corrected by half the curvature (Cai, 2025).

    It explains the quantity or, with `rest`, as the paper does, the class's logit plus its log-probability; the logit
    alone has no curvature above the last layer of most networks, and its map is Grad-CAM's. Returns [n, 1, h, w],
    signed if not `relu`, in units of the quantity.
    """
    return gradcam(curved_pass.activations, curved_pass.gradients - 0.5 * curved_pass.curvature, relu=relu)


@anchor
@forwards(1)
def finer_pass(block: Block, *, layer: str = "auto", alpha: float = 1.0, classes: int = 3) -> LayerPass:
    """The layer pass of a class's logit against the nearest logits."""

    def contrast(logits: Tensor, target: Tensor, _value: Tensor) -> Tensor:
        own = logits.gather(1, _column(target, logits))
        distance = (logits.detach() - own.detach()).abs().scatter(1, _column(target, logits), -1)
        near = distance.argsort(dim=1, stable=True)[:, 1 : 1 + classes]  # the first is the class itself
        others = logits.gather(1, near)
        return (others.softmax(1) * (own - alpha * others)).sum(1)

    return LayerPass(*_passed(block, layer, contrast, curved=False))


@anchor
@forwards(1)
def curved_pass(block: Block, *, layer: str = "auto", rest: bool = True) -> CurvedPass:
    """The layer pass with the Hessian times the activations, from a second backward through the tail."""

    def residual(logits: Tensor, target: Tensor, value: Tensor) -> Tensor:
        if not rest:
            return value
        return (logits + logits.log_softmax(1)).gather(1, _column(target, logits)).squeeze(1)

    return CurvedPass(*_passed(block, layer, residual, curved=True))


def _passed(block: Block, layer: str, explained: Callable[[Tensor, Tensor, Tensor], Tensor], *, curved: bool) -> Answer:
    """The fields of a layer pass of `explained(logits, target, value)`; its score stays that of the quantity."""
    classifier, module, grid = block.calls.classifier, block.calls.layer(layer), block.calls.find(layer).grid

    def ask(images: Tensor, labels: Tensor) -> Answer:
        # torch's fused attention has no second derivative
        with output_of(module) as captured, sdpa_kernel(SDPBackend.MATH) if curved else nullcontext():
            logits = classifier(images)
        target, against, value = score_of(block, logits, labels)
        total = explained(logits, target, value).sum()
        (gradients,) = torch.autograd.grad(total, captured, create_graph=curved)
        output = captured[0].detach()
        maps = grid.maps(output), grid.maps(gradients.detach()), grid.beside(output)
        answer = logits.detach(), target, against, value.detach(), *maps
        return (*answer, grid.maps(_curvature(gradients, captured[0]))) if curved else answer

    return block.calls.each(ask, block.images, block.labels)


def _curvature(gradients: Tensor, activations: Tensor) -> Tensor:
    """The Hessian times the activations; 0 where the gradient does not depend on them."""
    if not gradients.requires_grad:
        return torch.zeros_like(activations)
    (product,) = torch.autograd.grad(gradients, activations, activations.detach(), allow_unused=True)
    return torch.zeros_like(activations) if product is None else product


def _column(target: Tensor, logits: Tensor) -> Tensor:
    """Class numbers as an index column; a row whose class is unknown is marked failed elsewhere."""
    return target.clamp(max=logits.shape[1] - 1).unsqueeze(1)


QUERIES = (finer_pass, curved_pass)
