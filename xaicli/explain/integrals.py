"""Attribution by integrating the gradient along a path, or along many."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from xaicli.explain.block import Scored
from xaicli.explain.expectation import Expectation
from xaicli.explain.explanation import CHANNELS, LABELS, ChannelMaps, Explanation, Figure, PixelMaps, stores
from xaicli.explain.guided_paths import Walk
from xaicli.explain.paths import PathPass
from xaicli.explain.regions import ranked_map
from xaicli.signatures import Count, NonNegative, Positive, Share


def _gap(attribution: Tensor, prediction: Scored, baseline_score: Tensor) -> Tensor:
    """What a map's sum lacks of the quantity's difference, [n]."""
    return attribution.double().sum((1, 2, 3)) - (prediction.score.double() - baseline_score)


@stores(
    standard_error=Figure(
        "<f4", lambda channels, height, width, trials: (channels, height, width) if trials > 1 else None
    ),
    steps=Figure("<u4", lambda tolerance: None if tolerance is None else ()),
)
def integrated_gradients(
    path_pass: PathPass,
    prediction: Scored,
    *,
    steps: Count = 50,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian", "data"] = "black",
    trials: Count = 1,
    tolerance: Positive | None = None,
    max_steps: Count = 800,
) -> Explanation[ChannelMaps]:
    """The gradient integrated from a baseline to the image, times their difference (Sundararajan et al., 2017).

    Returns [n, C, H, W], signed, in units of the quantity; it sums to f(x) - f(baseline) up to the stored completeness
    gap, which more `steps` of the Gauss-Legendre rule make smaller. `baseline=data` draws training images of the
    checkpoint; `trials` averages over so many random baselines and stores the standard error. With a `tolerance`, rows
    whose gap exceeds that share of f(x) - f(baseline) are asked again with twice the steps, up to `max-steps`; the
    steps they needed are stored, and the forwards planned are the most a row can cost.
    """
    figures = {}
    if trials > 1:
        figures["standard_error"] = path_pass.standard_error
    if tolerance is not None:
        figures["steps"] = path_pass.steps
    gap = _gap(path_pass.attribution, prediction, path_pass.baseline_score)
    return Explanation(path_pass.attribution, gap, figures=figures)


@stores(standard_error=CHANNELS)
def expected_gradients(
    background_gradients: Expectation, prediction: Scored, *, samples: Count = 50, background: Count = 100
) -> Explanation[ChannelMaps]:
    """Integrated gradients averaged over baselines from the training data, by sampling (Erion et al., 2021).

    Returns [n, C, H, W], signed, in units of the quantity: the mean of (x - b) * gradient at b + a (x - b) over
    `samples` draws of b, one of `background` training images, and of a, uniform in [0, 1). Its standard error is
    stored, and the completeness gap against f(x) less the mean of f over the background, which is no smaller than
    chance allows. The forwards on the background images themselves, once a run, are not counted in those of a row.
    """
    found = background_gradients
    gap = _gap(found.attribution, prediction, found.background_score)
    return Explanation(found.attribution, gap, figures={"standard_error": found.standard_error})


def guided_ig(
    guided_path: Walk,
    prediction: Scored,
    *,
    steps: Count = 50,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian", "data"] = "black",
    fraction: Share = 0.25,
    spread: NonNegative = 0.02,
) -> Explanation[ChannelMaps]:
    """Integrated gradients along a path that avoids large gradients until it must (Kapishnikov et al., 2021).

    Returns [n, C, H, W], signed, in units of the quantity; it sums to f(x) - f(baseline) up to the stored completeness
    gap, which falls with `steps` (200 in the authors' code). Each step moves the `fraction` of values with the smallest
    gradients first, none of them further than `spread` (a share of the path) from where the straight path would be.
    """
    return Explanation(guided_path.attribution, _gap(guided_path.attribution, prediction, guided_path.start_score))


def blur_ig(
    blur_path: Walk, prediction: Scored, *, steps: Count = 50, sigma: Positive | None = None
) -> Explanation[ChannelMaps]:
    """The gradient integrated from the blurred image to the image (Xu et al., 2020).

    Returns [n, C, H, W], signed, in units of the quantity; it sums to f(x) - f(blurred x) up to the stored completeness
    gap, which falls with `steps`. The path begins at a Gaussian blur of `sigma` pixels (auto: 50 at a side of 224, in
    proportion at others) and its width falls in equal steps.
    """
    return Explanation(blur_path.attribution, _gap(blur_path.attribution, prediction, blur_path.start_score))


@stores(regions=replace(LABELS, each=True))
def xrai(
    black_and_white_pass: PathPass, prediction: Scored, image: Tensor, *, steps: Count = 50
) -> Explanation[PixelMaps]:
    """Integrated gradients gathered in segments, which are ranked by their mean (Kapishnikov et al., 2019).

    Returns [n, 1, H, W], signed, in units of the quantity per pixel, constant on every region. Integrated gradients
    from black and from white are averaged and summed over channels; of the segments of the image at six scales
    (Felzenszwalb and Huttenlocher, 2004), the one whose new pixels hold most of it on average is taken next. The map
    sums as they do, to f(x) less the mean of f at the two baselines, up to the stored gap. `regions` numbers the
    regions in the order taken.
    """
    relevance = black_and_white_pass.attribution.double().sum(1).cpu().numpy()
    found = [ranked_map(*pair) for pair in zip(relevance, image.double().cpu().numpy(), strict=True)]
    maps = torch.stack([torch.as_tensor(values) for values, _ in found]).unsqueeze(1).to(image)
    regions = torch.stack([torch.as_tensor(numbers) for _, numbers in found])
    return Explanation(maps, _gap(maps, prediction, black_and_white_pass.baseline_score), figures={"regions": regions})
