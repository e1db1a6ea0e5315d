"""One part hidden at a time: how much the quantity drops."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored
from xaicli.explain.explanation import LABELS, Measured, PixelMaps, stores
from xaicli.explain.hiding import coalition_scores, responses
from xaicli.explain.superpixels import SEGMENTS, counts, padded, paint
from xaicli.run.plan import forwards
from xaicli.signatures import Count


def spans(side: int, windows: int, overlap: int) -> list[slice]:
    """Where windows of 1/`windows` of a side lie, 1/`overlap` of a window apart, from end to end.

    How many there are does not depend on the side; on a small one some coincide.
    """
    width = -(-side // windows)
    starts = np.rint(np.linspace(0, side - width, (windows - 1) * overlap + 1)).astype(int)
    return [slice(start, start + width) for start in starts.tolist()]


@forwards(lambda windows, overlap: ((windows - 1) * overlap + 1) ** 2)
def occlusions(
    block: Block, prediction: Scored, baseline_image: Tensor, *, windows: int = 7, overlap: int = 2
) -> Tensor:
    """The quantity with one window hidden, [n, windows down * windows across]."""
    images = block.images
    down, across = (_inside(side, windows, overlap).to(images) for side in images.shape[2:])

    def perturb(row: int, numbers: Tensor) -> Tensor:
        first, second = down[numbers // len(across)], across[numbers % len(across)]
        hidden = (first.unsqueeze(2) * second.unsqueeze(1)).unsqueeze(1)
        return torch.lerp(images[row], baseline_image[row], hidden)  # exact at 0 and 1

    return responses(block, prediction, len(down) * len(across), perturb)


def _inside(side: int, windows: int, overlap: int) -> Tensor:
    """Which pixels of a side each window covers, bool [windows of the side, side]."""
    found = spans(side, windows, overlap)
    inside = torch.zeros(len(found), side, dtype=torch.bool)
    for row, span in zip(inside, found, strict=True):
        row[span] = True
    return inside


def _places(images: Tensor, windows: int, overlap: int) -> list[tuple[slice, slice]]:
    height, width = images.shape[2:]
    return [(down, across) for down in spans(height, windows, overlap) for across in spans(width, windows, overlap)]


def occlusion(
    occlusions: Tensor,
    prediction: Scored,
    image: Tensor,
    *,
    windows: Count = 7,
    overlap: Count = 2,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian"] = "black",
) -> PixelMaps:
    """The drop of the quantity when a sliding window is hidden (Zeiler & Fergus, 2014).

    A window is 1/`windows` of the side and moves by 1/`overlap` of its width; what it hides looks as in `baseline`.
    Returns [n, 1, H, W], signed, in units of the quantity: the mean drop of the windows that cover the pixel.
    """
    drops = prediction.score.unsqueeze(1) - occlusions
    total = image.new_zeros((len(image), 1, *image.shape[2:]))
    covered = torch.zeros_like(total)
    for drop, (down, across) in zip(drops.unbind(1), _places(image, windows, overlap), strict=True):
        total[:, :, down, across] += drop.view(-1, 1, 1, 1)
        covered[:, :, down, across] += 1
    return total / covered


@forwards(lambda segments: segments)
def ablations(
    block: Block, prediction: Scored, superpixels: Tensor, baseline_image: Tensor, *, segments: int = 50
) -> Tensor:
    """The quantity with one superpixel hidden, [n, S]; the whole image beyond the last superpixel."""
    present = ~torch.eye(segments, dtype=torch.bool, device=superpixels.device)
    every = present.expand(len(superpixels), -1, -1)
    return coalition_scores(block, prediction, superpixels, baseline_image, every)


@stores(segments=LABELS, coefficients=SEGMENTS)
def feature_ablation(
    ablations: Tensor,
    prediction: Scored,
    superpixels: Tensor,
    *,
    segments: Count = 50,
    algorithm: Literal["slic", "quickshift"] = "slic",
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian"] = "black",
) -> Measured[PixelMaps]:
    """The drop of the quantity when a superpixel is hidden (Zeiler & Fergus, 2014).

    At most `segments` superpixels; a hidden one looks as in `baseline`. Returns [n, 1, H, W], signed, in units of the
    quantity: every pixel holds the drop of its superpixel. Stored beside it: `segments` [n, H, W] and `coefficients`
    [n, S], NaN beyond the image's own superpixels.
    """
    drops = (prediction.score.unsqueeze(1) - ablations).double().cpu()
    own = [drop[:count] for drop, count in zip(drops, counts(superpixels), strict=True)]
    coefficients = padded(own, segments, superpixels).to(ablations.dtype)
    figures = {"segments": superpixels, "coefficients": coefficients}
    return Measured(paint(coefficients, superpixels), figures=figures)


QUERIES = (occlusions, ablations)
