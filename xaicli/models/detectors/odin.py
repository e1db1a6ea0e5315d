"""The detector that needs a gradient pass of its own: it looks how far a small step raises the prediction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.models.detectors.logits import msp
from xaicli.signatures import NonNegative, Positive


def odin(
    model: Callable[[Tensor], Tensor], images: Tensor, *, temperature: Positive = 1000.0, eps: NonNegative = 0.0014
) -> Tensor:
    """ODIN (Liang et al., 2018): the largest probability at a high temperature, after a step towards it.

    model: from images to logits [n, K], in evaluation mode; asked twice, once with a gradient in the images. images:
    [n, C, H, W], pixels in [0, 1], which the step of `eps` in every pixel may leave, as in the paper. Returns float64
    [n], higher is more known.
    """
    with torch.enable_grad():
        moved = images.detach().requires_grad_()
        logits = model(moved) / temperature
        # summed, not averaged: a row's slope must not shrink with the number of rows
        (slope,) = torch.autograd.grad(cross_entropy(logits, logits.argmax(1), reduction="sum"), moved)
    with torch.no_grad():
        asked = model(images - eps * slope.sign())
        return msp(temperature=temperature).score(asked, asked)
