"""LIME: a linear model of the classifier around one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored
from xaicli.explain.explanation import LABELS, ROW, Measured, PixelMaps, stores
from xaicli.explain.hiding import Coalitions, coalition_scores
from xaicli.explain.superpixels import SEGMENTS, counts, padded, paint, segment_means
from xaicli.run.plan import forwards
from xaicli.run.random import Stream
from xaicli.signatures import Count, Positive


@forwards(lambda samples: samples)
def neighbourhood(
    block: Block, prediction: Scored, superpixels: Tensor, stream: Stream, *, segments: int = 50, samples: int = 1000
) -> Coalitions:
    """Every superpixel seen or in its mean colour by a fair coin; the first sample is the image itself."""
    present = torch.as_tensor(stream.uniform((samples, segments)) < 0.5).to(superpixels.device)
    present[:, 0] = True
    hidden = segment_means(block.images, superpixels)
    return Coalitions(present, coalition_scores(block, prediction, superpixels, hidden, present))


@dataclass(frozen=True)
class Fit:
    """A weighted linear model."""

    coefficients: Tensor  # [k]
    r2: Tensor  # [], weighted; NaN where the quantity does not change


def cosine_weights(present: Tensor, width: float) -> Tensor:
    """How near samples [m, k] of 0 and 1 are to the whole image: sqrt(exp(-d^2 / width^2)), d the cosine distance."""
    distance = 1 - (present.sum(1) / present.shape[1]).sqrt()
    return (-(distance / width).square()).exp().sqrt()


def ridge(present: Tensor, scores: Tensor, weights: Tensor, alpha: float) -> Fit:
    """Weighted ridge regression of scores [m] on samples [m, k], with an intercept that is not penalised."""
    shares = weights / weights.sum()
    x, y = present - shares @ present, scores - shares @ scores
    weighted = x * weights.unsqueeze(1)
    penalty = alpha * torch.eye(x.shape[1], dtype=x.dtype)
    coefficients = torch.linalg.solve(weighted.T @ x + penalty, weighted.T @ y)
    left = (weights * (y - x @ coefficients).square()).sum()
    return Fit(coefficients, 1 - left / (weights * y.square()).sum())


@stores(segments=LABELS, coefficients=SEGMENTS, r2=ROW)
def lime(
    neighbourhood: Coalitions,
    superpixels: Tensor,
    image: Tensor,
    *,
    segments: Count = 50,
    algorithm: Literal["slic", "quickshift"] = "slic",
    samples: Count = 1000,
    kernel_width: Positive = 0.25,
    alpha: Positive = 1.0,
) -> Measured[PixelMaps]:
    """A ridge regression on which superpixels are seen, near the image (Ribeiro et al., 2016).

    Superpixels are hidden in their mean colour. Samples weigh sqrt(exp(-d^2 / kernel_width^2)), d their cosine distance
    from the whole image; `alpha` is the ridge penalty. Returns [n, 1, H, W], signed, in units of the quantity: every
    pixel holds its superpixel's coefficient. Stored beside it: `segments` [n, H, W], `coefficients` [n, S] (NaN beyond
    the image's own superpixels) and the weighted `r2` [n], NaN where the quantity does not change.
    """
    fits = []
    for present, scores, count in zip(neighbourhood.present, neighbourhood.scores, counts(superpixels), strict=True):
        seen = present[:, :count].double().cpu()
        fits.append(ridge(seen, scores.double().cpu(), cosine_weights(seen, kernel_width), alpha))
    coefficients = padded([fit.coefficients for fit in fits], segments, superpixels).to(image.dtype)
    r2 = torch.stack([fit.r2 for fit in fits])
    figures = {"segments": superpixels, "coefficients": coefficients, "r2": r2}
    return Measured(paint(coefficients, superpixels), figures=figures)


QUERIES = (neighbourhood,)
