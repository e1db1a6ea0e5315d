"""Attribution from the gradient with respect to the image."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from xaicli.explain.block import Scored
from xaicli.explain.explanation import ChannelMaps, Explanation, GradientMaps
from xaicli.explain.paths import PathPass
from xaicli.methods import Count


def saliency(gradient: Tensor) -> GradientMaps:
    """The gradient of the explained quantity (Simonyan et al., 2014).

    Returns [n, C, H, W], signed, in units of the quantity per unit of pixel value. Metrics reduce it by abs-sum.
    """
    return gradient


def input_x_gradient(gradient: Tensor, image: Tensor) -> ChannelMaps:
    """The gradient times the image (Shrikumar et al., 2016).

    Returns [n, C, H, W], signed, in units of the quantity. On a bias-free ReLU net it sums to the quantity.
    """
    return gradient * image


def integrated_gradients(
    path_pass: PathPass,
    prediction: Scored,
    image: Tensor,
    *,
    steps: Count = 50,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian"] = "black",
) -> Explanation[ChannelMaps]:
    """The gradient integrated from a baseline to the image, times their difference (Sundararajan et al., 2017).

    Returns [n, C, H, W], signed, in units of the quantity; it sums to f(x) - f(baseline) up to the stored completeness
    gap, which more `steps` of the Gauss-Legendre rule make smaller.
    """
    attribution = (image - path_pass.baseline) * path_pass.gradient
    gap = attribution.double().sum((1, 2, 3)) - (prediction.score.double() - path_pass.baseline_score)
    return Explanation(attribution, gap)
