"""Information curves: the model's answer against how much information the shown part of an image holds."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xaicli.evaluate.paths import Ranks, kept
from xaicli.evaluate.scores import Curves, reports
from xaicli.evaluate.walks import Walk, points
from xaicli.signatures import Count

AT_ONCE = 32  # images built before they are measured
LEVEL = 6  # of the compression, zlib's own choice


def insertion_sizes(
    image: Tensor, ranks: Ranks, baseline_image: Tensor, insertion_walk: Walk, *, baseline: str = "blur"
) -> Tensor:
    """Bytes of every image of the insertion walk, compressed without loss, float64 [n, points]."""
    fill = kept(image, ranks.places, baseline_image, baseline)
    sizes = torch.empty(insertion_walk.counts.shape, dtype=torch.float64)
    for row, counts in enumerate(insertion_walk.counts.to(image)):
        for start in range(0, len(counts), AT_ONCE):
            limits = counts[start : start + AT_ONCE].view(-1, 1, 1, 1)
            images = image.new_empty((len(limits), *image.shape[1:]))
            fill(row, limits, images)
            sizes[row, start : start + AT_ONCE] = _sizes(images)
    return sizes.to(image.device)


def _sizes(images: Tensor) -> Tensor:
    """Bytes of images [k, C, H, W] of 8 bits, each the deflated differences of neighbouring rows, float64 [k]."""
    levels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    steps = np.diff(levels, axis=2, prepend=np.uint8(0))  # modulo 256, as PNG's `up` filter
    return torch.tensor([len(zlib.compress(step.tobytes(), LEVEL)) for step in steps], dtype=torch.float64)


@reports(points=lambda steps, size: points(steps, size, None, None) + 1, quantity="probability")
def sic(
    insertion_walk: Walk,
    insertion_sizes: Tensor,
    *,
    steps: Count = 100,
    baseline: Literal["blur", "black", "white", "mean", "noise", "salt-pepper", "road"] = "blur",
) -> Curves:
    """Area under the softmax information curve, higher is better (Kapishnikov et al., 2019).

    The most relevant pixels are put onto the blurred image in min(steps, pixels) equal steps: min(1, p_c / p_c(x))
    against the information shown, the size of the losslessly compressed image from 0 (blurred) to 1 (whole). The walk
    is that of insertion, so both cost no more than one. Undefined where the image is no larger than the blurred one.
    """
    scores = insertion_walk.scores("probability").double()
    return _area(insertion_sizes, (scores / scores[:, -1:]).clamp_max(1))


@reports(points=lambda steps, size: points(steps, size, None, None) + 1)
def accuracy_information_curve(
    insertion_walk: Walk,
    insertion_sizes: Tensor,
    labels: Tensor,
    *,
    steps: Count = 100,
    baseline: Literal["blur", "black", "white", "mean", "noise", "salt-pepper", "road"] = "blur",
) -> Curves:
    """Area under the accuracy information curve, higher is better (Kapishnikov et al., 2019).

    As sic, with 1 where the true class has the largest logit, else 0. Undefined for rows without a true class, too.
    """
    return _area(insertion_sizes, insertion_walk.right(labels))


def _area(sizes: Tensor, values: Tensor) -> Curves:
    """Trapezoid over the information shown; the curve is taken at equally spaced levels, as many as points."""
    span = (sizes[:, -1] - sizes[:, 0])[:, None]
    shown = ((sizes - sizes[:, :1]) / torch.where(span > 0, span, torch.nan)).clamp(0, 1)
    shown, by_size = shown.sort(dim=1, stable=True)
    values = values.gather(1, by_size)
    levels = np.linspace(0, 1, sizes.shape[1])
    curves = [np.interp(levels, x, y) for x, y in zip(shown.cpu().numpy(), values.cpu().numpy(), strict=True)]
    return Curves(torch.trapezoid(values, shown, dim=1), curve=torch.as_tensor(np.stack(curves)))


QUERIES = (insertion_sizes,)
