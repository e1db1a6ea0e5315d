"""Shapley values of superpixels: what each adds to the quantity, on average over the orders in which they appear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored
from xaicli.explain.coalitions import kernel_coalitions, shapley_regression, walked_values, walks
from xaicli.explain.explanation import LABELS, Explanation, PixelMaps, stores
from xaicli.explain.hiding import Coalitions, coalition_scores
from xaicli.explain.superpixels import SEGMENTS, counts, padded, spread
from xaicli.run.plan import forwards
from xaicli.run.random import Stream
from xaicli.signatures import Count


@dataclass(frozen=True)
class Weighted(Coalitions):
    """Coalitions for a regression."""

    weights: Tensor  # float64 [n, samples]


@dataclass(frozen=True)
class Walked:
    """Answers along permutations, those of row i being `order[i]` [P, k] and `scores[i]` [P, 2, k - 1]."""

    order: list[Tensor]
    scores: list[Tensor]


def kernel_budget(segments: int, samples: int | None) -> int:
    """How many coalitions are asked: `samples`, by default shap's 2 * segments + 2,048, and never more than exist."""
    asked = 2 * segments + 2048 if samples is None else samples
    return int(min(asked, 2**segments - 2))


@forwards(kernel_budget)
def kernel_sample(
    block: Block,
    prediction: Scored,
    superpixels: Tensor,
    baseline_image: Tensor,
    stream: Stream,
    *,
    segments: int = 50,
    samples: int | None = None,
) -> Weighted:
    """The quantity of each row's coalitions: all of them where the budget pays for all."""
    budget, own = kernel_budget(segments, samples), counts(superpixels)
    draws = stream.uniform(((budget + 1) // 2, segments + 1))
    present = np.zeros((len(own), budget, segments), dtype=bool)
    weights = np.zeros((len(own), budget))
    for row, count in enumerate(own):
        present[row, :, :count], weights[row] = kernel_coalitions(count, budget, draws[row])
    shown = torch.as_tensor(present).to(superpixels.device)
    scores = coalition_scores(block, prediction, superpixels, baseline_image, shown)
    return Weighted(shown, scores, torch.as_tensor(weights))


@stores(segments=LABELS, coefficients=SEGMENTS)
def kernel_shap(
    kernel_sample: Weighted,
    prediction: Scored,
    hidden_score: Tensor,
    superpixels: Tensor,
    *,
    segments: Count = 50,
    algorithm: Literal["slic", "quickshift"] = "slic",
    samples: Count | None = None,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian"] = "black",
) -> Explanation[PixelMaps]:
    """Shapley values of superpixels by regression with the Shapley kernel (Lundberg & Lee, 2017).

    Hidden superpixels look as in `baseline`. `samples` coalitions are asked (auto: 2 * segments + 2,048); where that
    pays for all 2^S - 2 of an image the values are exact. Returns [n, 1, H, W], signed, in units of the quantity: each
    value in equal parts over its pixels, so the map sums to f(x) - f(baseline) up to the stored completeness gap.
    Stored beside it: `segments` [n, H, W] and the values `coefficients` [n, S], NaN beyond the image's own superpixels.
    """
    values = []
    for row, count in enumerate(counts(superpixels)):
        present = kernel_sample.present[row, :, :count].double().cpu()
        scores = kernel_sample.scores[row].double().cpu()
        ends = prediction.score[row].double().cpu(), hidden_score[row].double().cpu()
        values.append(shapley_regression(present, scores, kernel_sample.weights[row], *ends))
    coefficients = padded(values, segments, superpixels)
    return _explanation(coefficients, superpixels, prediction, hidden_score)


@forwards(lambda segments, permutations: 2 * permutations * (segments - 1))
def walk_sample(
    block: Block,
    prediction: Scored,
    superpixels: Tensor,
    baseline_image: Tensor,
    stream: Stream,
    *,
    segments: int = 50,
    permutations: int = 20,
) -> Walked:
    """The quantity while superpixels appear in the order of random permutations, and in the reverse of each."""
    own = counts(superpixels)
    draws = stream.uniform((permutations, segments))
    order = [np.argsort(part[:, :count], axis=1, kind="stable") for part, count in zip(draws, own, strict=True)]
    # what an image with fewer superpixels leaves of its budget asks about the whole image again
    present = np.ones((len(own), permutations, 2, segments - 1, segments), dtype=bool)
    for row, count in enumerate(own):
        present[row, :, :, : count - 1, :count] = walks(order[row])
    shown = torch.as_tensor(present).to(superpixels.device).flatten(1, 3)
    scores = coalition_scores(block, prediction, superpixels, baseline_image, shown)
    asked = scores.double().cpu().view(len(own), permutations, 2, segments - 1)
    used = [part[:, :, : count - 1] for part, count in zip(asked, own, strict=True)]
    return Walked([torch.as_tensor(part) for part in order], used)


@stores(segments=LABELS, coefficients=SEGMENTS, standard_error=SEGMENTS)
def shapley_sampling(
    walk_sample: Walked,
    prediction: Scored,
    hidden_score: Tensor,
    superpixels: Tensor,
    *,
    segments: Count = 50,
    algorithm: Literal["slic", "quickshift"] = "slic",
    permutations: Count = 20,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian"] = "black",
) -> Explanation[PixelMaps]:
    """Shapley values of superpixels by random permutations, each also reversed (Castro et al., 2009).

    Hidden superpixels look as in `baseline`. Returns [n, 1, H, W], signed, in units of the quantity: each value in
    equal parts over its pixels, so the map sums to f(x) - f(baseline) up to the stored completeness gap. Stored beside
    it: `segments` [n, H, W], the values `coefficients` [n, S] and their `standard_error` [n, S] from the spread of the
    permutations (NaN for one), NaN beyond the image's own superpixels.
    """
    values, errors = [], []
    for row, (order, scores) in enumerate(zip(walk_sample.order, walk_sample.scores, strict=True)):
        ends = prediction.score[row].double().cpu(), hidden_score[row].double().cpu()
        each = walked_values(order, scores, *ends)
        values.append(each.mean(0))
        spreads = each.std(0) if permutations > 1 else torch.full_like(each[0], torch.nan)
        errors.append(spreads / permutations**0.5)
    coefficients = padded(values, segments, superpixels)
    found = _explanation(coefficients, superpixels, prediction, hidden_score)
    error = padded(errors, segments, superpixels).to(prediction.score.dtype)
    return Explanation(found.attribution, found.completeness, figures={**found.figures, "standard_error": error})


def _explanation(values: Tensor, labels: Tensor, prediction: Scored, hidden_score: Tensor) -> Explanation[PixelMaps]:
    """Shapley values [n, S] spread over their superpixels, with the gap of the map."""
    attribution = spread(values, labels).to(prediction.score.dtype)
    gap = attribution.double().sum((1, 2, 3)) - (prediction.score.double() - hidden_score.double())
    figures = {"segments": labels, "coefficients": values.to(prediction.score.dtype)}
    return Explanation(attribution, gap, figures=figures)


QUERIES = (kernel_sample, walk_sample)
