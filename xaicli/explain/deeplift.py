"""Attribution by differences from a baseline, handed back through the network layer by layer."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from xaicli.explain.block import Scored
from xaicli.explain.differences import DifferencePass
from xaicli.explain.explanation import CHANNELS, ChannelMaps, Explanation, stores
from xaicli.signatures import Count


def deeplift(
    difference_pass: DifferencePass,
    prediction: Scored,
    *,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian", "data"] = "black",
) -> Explanation[ChannelMaps]:
    """Every layer's difference from the baseline, handed back by the rescale rule (Shrikumar et al., 2017).

    Returns [n, C, H, W], signed, in units of the quantity; it sums to f(x) - f(baseline), and the stored completeness
    gap is what rounding leaves. The factors of a product (gates, attention) share by the symmetric rule. The network is
    first rewritten as a graph of modules; one that cannot be, or that has an operation without a rule, is refused, and
    the operation named. `baseline=data` draws training images of the checkpoint.
    """
    return Explanation(difference_pass.attribution, _gap(difference_pass, prediction))


@stores(standard_error=CHANNELS)
def deepshap(
    background_differences: DifferencePass, prediction: Scored, *, background: Count = 20
) -> Explanation[ChannelMaps]:
    """DeepLIFT averaged over baselines from the training data (Lundberg and Lee, 2017).

    Returns [n, C, H, W], signed, in units of the quantity: the mean of deeplift over `background` training images of
    the checkpoint, the same for all rows. It sums to f(x) less the mean of f over them, and the stored completeness gap
    is what rounding leaves. The standard error says how much other training images would change (NaN for one).
    """
    gap = _gap(background_differences, prediction)
    figures = {"standard_error": background_differences.standard_error}
    return Explanation(background_differences.attribution, gap, figures=figures)


def _gap(found: DifferencePass, prediction: Scored) -> Tensor:
    return found.attribution.double().sum((1, 2, 3)) - (prediction.score.double() - found.baseline_score)
