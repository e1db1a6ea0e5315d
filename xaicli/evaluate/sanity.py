"""Sanity checks: whether a map depends on what the model has learned, on the class, and on nothing else.

They are necessary, not sufficient: a map may change with the model and still be wrong. The explainer is asked again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.again import norms
from xaicli.evaluate.likeness import Likeness
from xaicli.evaluate.scores import Scores, reports
from xaicli.signatures import Count, Positive

BINS = 100  # of the histogram whose entropy is taken (Hedstroem et al., 2024)


@reports(parts=("last", "ssim"))
def mprt(random_likeness: tuple[Likeness, ...], explainer: int, *, stages: Count | None = None) -> Scores:
    """Rank correlation with maps of randomised models, lower is better (Adebayo et al., 2018).

    Layer after layer, from the logits down, is initialised anew; the mean of Spearman's correlation over the `stages`
    (all layers, or so many evenly spread; the last is the wholly random model, the model itself never counts). From -1
    to 1; 0 is what a map that follows the model should have, 1 what one has that ignores it. Parts: the correlation for
    the wholly random model, and the mean SSIM of maps scaled to [0, 1]. Undefined where a map is constant.
    """
    return _randomised(random_likeness[explainer])


@reports(parts=("last", "ssim"))
def smprt(
    smooth_random_likeness: tuple[Likeness, ...],
    explainer: int,
    *,
    n: Count = 50,
    sigma: Positive = 0.1,
    stages: Count | None = None,
) -> Scores:
    """The same of maps averaged over noisy images, lower is better (Hedstroem et al., 2024).

    As mprt, with every map, the model's own included, the mean over `n` copies of the image with normal noise of
    deviation `sigma`: less of what is measured is the noise of gradients. Costs n explanations per stage.
    """
    return _randomised(smooth_random_likeness[explainer])


@reports(parts=("entropy", "random-entropy"), better={"entropy": "neither", "random-entropy": "neither"})
def emprt(random_maps: tuple[Tensor, ...], explainer: int, attribution: Tensor) -> Scores:
    """Relative rise of the map's entropy when the model is wholly random, higher is better (Hedstroem et al., 2024).

    (H(phi') - H(phi)) / H(phi) with H the entropy of a histogram of 100 equal bins from the smallest to the largest
    value, in nats; both entropies are the parts. From -1, no unit. Undefined for a constant map.
    """
    entropy, random = histogram_entropy(attribution), histogram_entropy(random_maps[explainer])
    rise = torch.where(entropy > 0, (random - entropy) / torch.where(entropy > 0, entropy, 1), torch.nan)
    return Scores(rise, {"entropy": entropy, "random-entropy": random})


@reports(parts=("ssim",))
def random_logit(other_class_likeness: tuple[Likeness, ...], explainer: int) -> Scores:
    """Rank correlation with the map of another, random class, lower is better (Sixt et al., 2020).

    Spearman's correlation of the two maps, from -1 to 1; the class is the same for all explainers, and any of the
    model's but the one explained (and its contrast). The part is their SSIM, each scaled to [0, 1]. Undefined where a
    map is constant or there is no other class.
    """
    found = other_class_likeness[explainer]
    return Scores(found.spearman, {"ssim": found.ssim})


def input_invariance(
    shifted_changes: tuple[Tensor, ...], explainer: int, attribution: Tensor, *, shift: float = -1.0
) -> Scores:
    """Change of the map when a shift of all pixels is undone by the model, lower is better (Kindermans et al., 2019).

    norm(phi' - phi) / norm(phi), l2, where phi' explains x + `shift` by a model whose first layer, the normalisation,
    subtracts it again, so that all its answers are the same. From 0, no unit: a gap, never an equality. Gradients have
    about 0; what is measured from a baseline such as black has not. Undefined for a map that is 0 everywhere.
    """
    size = norms(attribution)
    gap = shifted_changes[explainer]
    return Scores(torch.where(size > 0, gap / torch.where(size > 0, size, 1), torch.nan))


def histogram_entropy(maps: Tensor) -> Tensor:
    """Entropy of the values of each map [n, H, W] in equal bins between its smallest and its largest, [n], in nats."""
    values = maps.flatten(1).double()
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    place = ((values - low) / torch.where(high > low, high - low, 1) * BINS).long().clamp_(max=BINS - 1)
    counts = torch.zeros(len(values), BINS, dtype=torch.float64, device=values.device)
    shares = counts.scatter_add_(1, place, torch.ones_like(values)) / values.shape[1]
    entropy: Tensor = -torch.special.xlogy(shares, shares).sum(1)
    return entropy


def _randomised(found: Likeness) -> Scores:
    return Scores(found.spearman.mean(1), {"last": found.spearman[:, -1], "ssim": found.ssim.mean(1)})
