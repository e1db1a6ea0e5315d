"""Faithfulness as a correlation: what a map says of removed pixels against what their removal does."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.cells import CellResponses, noise_changes
from xaicli.evaluate.correlation import pearson, spearman
from xaicli.evaluate.perturbed import drops
from xaicli.evaluate.scores import Curves, Scores, reports
from xaicli.evaluate.subsets import Subsets
from xaicli.run.plan import spread
from xaicli.signatures import Count, Share


def faithfulness_correlation(
    attribution: Tensor,
    subset_removal: Subsets,
    subject: Subject,
    image_score: Tensor,
    *,
    share: Share = 0.2,
    draws: Count = 100,
    grid: Count | None = None,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Correlation of attribution and effect over random subsets, higher is better (Bhatt et al., 2020).

    Pearson's coefficient, from -1 to 1, of sum_{i in S} phi_i and f(x) - f(x with S replaced) over `draws` subsets S of
    that share of the pixels, or of the cells of a `grid` x `grid` grid. The subsets are the same for all explainers,
    and for sensitivity-n at the same share. Undefined where the map or the model answers all subsets alike.
    """
    return Scores(pearson(subset_removal.sums(attribution), _drops(subset_removal, subject, image_score, quantity)))


def mu_fidelity(
    attribution: Tensor,
    subset_removal: Subsets,
    subject: Subject,
    image_score: Tensor,
    *,
    share: Share = 0.2,
    draws: Count = 200,
    grid: Count | None = 9,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Rank correlation of attribution and effect over random subsets of cells, higher is better (Fel et al., 2021).

    Spearman's coefficient, from -1 to 1, of sum_{i in S} phi_i and f(x) - f(x with S replaced) over `draws` subsets S
    of that share of the cells of a `grid` x `grid` grid (`all`: single pixels). Undefined as faithfulness-correlation.
    """
    return Scores(spearman(subset_removal.sums(attribution), _drops(subset_removal, subject, image_score, quantity)))


@spread("subset_removal", over="shares", option="share")
@reports(points=lambda shares: len(shares))
def sensitivity_n(
    attribution: Tensor,
    subset_removal: tuple[Subsets, ...],
    subject: Subject,
    image_score: Tensor,
    *,
    shares: tuple[Share, ...] = (0.01, 0.05, 0.1, 0.2, 0.4, 0.8),
    draws: Count = 100,
    grid: Count | None = None,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Curves:
    """Correlation of attribution and effect, averaged over sizes of subsets, higher is better (Ancona et al., 2018).

    The mean over n of Pearson's coefficient of sum_{i in S} phi_i and f(x) - f(x with S replaced), over `draws` random
    subsets S of n pixels (or cells of a grid), from -1 to 1; n runs through `shares` of them, and the curve shows each.
    1 for a linear model and its exact contributions. Undefined where it is for one n.
    """
    found = [
        pearson(subsets.sums(attribution), _drops(subsets, subject, image_score, quantity))
        for subsets in subset_removal
    ]
    curve = torch.stack(found, dim=1)
    return Curves(curve.mean(1), curve=curve)


def faithfulness_estimate(
    attribution: Tensor,
    cell_removal: CellResponses,
    subject: Subject,
    image_score: Tensor,
    *,
    grid: Count | None = 16,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Correlation of each cell's attribution with its own effect, higher is better (Alvarez-Melis and Jaakkola, 2018).

    Pearson's coefficient, from -1 to 1, of a cell's summed attribution and f(x) - f(x with the cell replaced), over the
    cells of a `grid` x `grid` grid (`all`: single pixels). Undefined where map or model answer all cells alike.
    """
    effects = drops(subject, image_score, cell_removal.logits, quantity)
    return Scores(pearson(cell_removal.grid.sums(attribution), effects))


def monotonicity_correlation(
    attribution: Tensor,
    cell_noise: CellResponses,
    subject: Subject,
    image_score: Tensor,
    *,
    grid: Count | None = 16,
    draws: Count = 5,
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Rank correlation of attribution and uncertainty without a cell, higher is better (Nguyen and Martinez, 2020).

    Spearman's coefficient, from -1 to 1, of the size of a cell's summed attribution and the mean of
    (f(x) - f(x with the cell replaced))^2 over `draws` of uniform noise, over the cells of a `grid` x `grid` grid
    (`all`: single pixels). It measures dependence, not contributions: a pixel that says nothing but could say much
    counts much, so the gradient of a linear model reaches 1, and the exact contributions of some models rank below
    random maps. A grid that does not divide the image has larger and smaller cells, which lift even a random map above
    0. Undefined where map or model answer all cells alike.
    """
    changes = noise_changes(cell_noise, subject, image_score, quantity)
    return Scores(spearman(cell_noise.grid.sums(attribution).abs(), changes.square().mean(2)))


def _drops(subsets: Subsets, subject: Subject, image_score: Tensor, quantity: str) -> Tensor:
    return drops(subject, image_score, subsets.logits, quantity)
