"""Gradients with another rule for ReLUs: what flows back through them is cut at zero.

The rule holds while a call runs and wherever the network uses a ReLU, as a module or as a function, in place or not;
the user's modules are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xaicli.errors import InputError
from xaicli.explain.block import Block, anchor, score_of
from xaicli.explain.passes import InputPass
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards

_RELUS = (functional.relu, functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, functional.relu6)
_BOUNDED = (functional.hardtanh, functional.hardtanh_)  # the module ReLU6 calls them with the bounds 0 and 6
_IN_PLACE = (functional.relu_, torch.relu_, Tensor.relu_, functional.hardtanh_)


class _Cut(torch.autograd.Function):
    """A ReLU that hands back positive gradients only; a guided one only where it was active, as a ReLU does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, largest: float, guided: bool) -> Tensor:
        ctx.guided, ctx.largest = guided, largest
        cut = x.clamp(0, largest) if isfinite(largest) else x.clamp_min(0)
        if guided:
            ctx.save_for_backward(cut)
        return cut

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        positive = gradients[0].clamp_min(0)
        if ctx.guided:  # what comes out lies strictly between the bounds where the ReLU is active
            positive = torch.ops.aten.hardtanh_backward(positive, ctx.saved_tensors[0], 0, ctx.largest)
        return positive, None, None


class _Rule(TorchFunctionMode):
    """Replaces every ReLU that is called meanwhile, and counts them."""

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided, self.replaced = guided, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Called for every torch function."""
        given = dict(zip(_names(func), args, strict=False)) | (kwargs or {})
        if func not in _RELUS and not (func in _BOUNDED and given.get("min_val") == 0):
            return func(*args, **(kwargs or {}))
        self.replaced += 1
        x: Tensor = given["input"]
        largest = 6.0 if func is functional.relu6 else float(given.get("max_val", "inf"))
        result: Tensor = _Cut.apply(x, largest, self.guided)
        return x.copy_(result) if func in _IN_PLACE or given.get("inplace") else result


def _names(func: Callable[..., Any]) -> tuple[str, ...]:
    """The positional parameters of a ReLU; other functions do not matter."""
    if func in _BOUNDED:
        return ("input", "min_val", "max_val", "inplace")
    return ("input", "inplace") if func in _RELUS else ()


def _cut_pass(block: Block, *, guided: bool) -> InputPass:
    def ask(images: Tensor, labels: Tensor) -> Answer:
        images = images.requires_grad_()
        with _Rule(guided) as rule:
            logits = block.calls.classifier(images)
        if not rule.replaced:
            raise InputError(
                "the network has no ReLU, so guided backpropagation and deconvolution would be its plain gradient; "
                "use saliency."
            )
        target, against, value = score_of(block, logits, labels)
        (gradient,) = torch.autograd.grad(value.sum(), images)
        return logits.detach(), target, against, value.detach(), gradient

    return InputPass(*block.calls.each(ask, block.images, block.labels))


@anchor
@forwards(1)
def guided_pass(block: Block) -> InputPass:
    """Gradients that pass a ReLU where it is active and they are positive (Springenberg et al., 2015)."""
    return _cut_pass(block, guided=True)


@anchor
@forwards(1)
def deconvolution_pass(block: Block) -> InputPass:
    """Gradients that pass a ReLU where they are positive, active or not (Zeiler and Fergus, 2014)."""
    return _cut_pass(block, guided=False)


QUERIES = (guided_pass, deconvolution_pass)
