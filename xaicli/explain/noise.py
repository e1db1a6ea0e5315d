"""Gradients around an image: the noise that SmoothGrad and its kin share."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored
from xaicli.explain.turns import Drawn, Moments, gradients_in_turn
from xaicli.run.plan import forwards
from xaicli.run.random import Stream


@forwards(lambda n: n)
def noisy_gradient_moments(
    block: Block, prediction: Scored, stream: Stream, *, n: int = 25, sigma: float = 0.15
) -> Moments:
    """Moments of the gradient at `n` copies of the image with noise N(0, sigma^2), for the class of the clean image.

    sigma: in units of the range of pixel values, which is 1; the copies are not clipped to it.
    """
    images = block.images
    noise = Drawn(lambda copy: torch.as_tensor(stream.fork(str(copy)).normal(images.shape[1:])).to(images))

    def points(rows: Tensor, copies: Tensor) -> Tensor:
        return noise(rows, copies).mul_(sigma).add_(images[rows])

    moments = Moments(images, n)
    for copy, rows, part in gradients_in_turn(block, prediction.target, prediction.against, n, points):
        moments.add(copy, rows, part)
    return moments


QUERIES = (noisy_gradient_moments,)
