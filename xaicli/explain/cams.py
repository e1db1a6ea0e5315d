"""Class activation maps: sums of a layer's channels, weighted by what the gradient or a change of the channel says."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.explain.explanation import PixelMaps
from xaicli.explain.passes import LayerPass


def gradcam(activations: Tensor, gradients: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """Grad-CAM: channels weighted by their mean gradient (Selvaraju et al., 2017).

    activations, gradients: [n, K, h, w] at `layer` (auto = the last spatial one), of the explained quantity. Returns
    [n, 1, h, w], signed if not `relu`; the planner upsamples it bilinearly to the image.
    """
    return _combined(gradients.mean((2, 3), keepdim=True), activations, relu)


def gradcam_plus_plus(activations: Tensor, gradients: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """Grad-CAM++: the weight is a weighted sum of the positive gradients (Chattopadhay et al., 2018).

    activations, gradients: [n, K, h, w] at `layer`. A place counts alpha = g^2 / (2 g^2 + sum(A) g^3), a channel
    sum(alpha ReLU(g)). Returns [n, 1, h, w], signed if not `relu`; no unit.
    """
    # alpha is 1 / (2 + sum(A) g): small gradients must not vanish in their cube
    share = gradients / (2 + activations.sum((2, 3), keepdim=True) * gradients)
    weights = torch.where(gradients > 0, share, 0).sum((2, 3), keepdim=True)
    return _combined(weights, activations, relu)


def xgradcam(activations: Tensor, gradients: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """XGrad-CAM: channels weighted by their gradient averaged over their activation (Fu et al., 2020).

    activations, gradients: [n, K, h, w] at `layer`. The weight is sum(A g) / (sum(A) + 1e-7). Returns [n, 1, h, w],
    signed if not `relu`, in units of the quantity.
    """
    weights = (activations * gradients).sum((2, 3), keepdim=True) / (activations.sum((2, 3), keepdim=True) + 1e-7)
    return _combined(weights, activations, relu)


def hirescam(activations: Tensor, gradients: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """HiResCAM: activations times gradients, summed over channels (Draelos and Carin, 2020).

    activations, gradients: [n, K, h, w] at `layer`. Returns [n, 1, h, w], signed if not `relu`, in units of the
    quantity; where the network above is linear without bias, the signed map sums to it.
    """
    return _combined(gradients, activations, relu)


def layercam(activations: Tensor, gradients: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """LayerCAM: activations times positive gradients, good at early layers (Jiang et al., 2021).

    activations, gradients: [n, K, h, w] at `layer`. Returns [n, 1, h, w], signed if not `relu` and the layer has
    negative activations, in units of the quantity.
    """
    return _combined(gradients.relu(), activations, relu)


def gradcam_elementwise(activations: Tensor, gradients: Tensor, *, layer: str = "auto") -> PixelMaps:
    """Grad-CAM place by place: the positive parts of activation times gradient (Gildenblat et al., 2021).

    activations, gradients: [n, K, h, w] at `layer`. Returns [n, 1, h, w], non-negative, in units of the quantity.
    """
    return (gradients * activations).relu().sum(1, keepdim=True)


def ablationcam(
    layer_pass: LayerPass,
    ablated_scores: Tensor,
    *,
    layer: str = "auto",
    fill: Literal["zero", "gradcam"] = "zero",
    relu: bool = True,
) -> PixelMaps:
    """Ablation-CAM: channels weighted by the drop when they are switched off (Ramaswamy et al., 2020).

    layer_pass: activations [n, K, h, w] at `layer` and the quantity y; ablated_scores: y without each channel, [n, K].
    The weight is (y - y_k) / abs(y). `fill=gradcam` is the library's: a channel becomes very negative where the layer
    has values other than ReLU's, and y is divided by with its sign. Returns [n, 1, h, w], signed if not `relu`; no
    unit, NaN where y is 0.
    """
    score = layer_pass.score.unsqueeze(1)
    drops = (score - ablated_scores) / (score.abs() if fill == "zero" else score)
    return _combined(drops[:, :, None, None], layer_pass.activations, relu)


def scorecam(activations: Tensor, masked_scores: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """Score-CAM: channels weighted by the score of the image seen through them (Wang et al., 2020).

    activations: [n, K, h, w] at `layer`; masked_scores: [n, K], the quantity of the image times each channel, upsampled
    and scaled to [0, 1]. The weights are their softmax over channels. Returns [n, 1, h, w], signed if not `relu` and
    the layer has negative activations, in units of the activations.
    """
    return _combined(masked_scores.softmax(1)[:, :, None, None], activations, relu)


def fem(activations: Tensor, *, layer: str = "auto", k: float = 2.0, relu: bool = True) -> PixelMaps:
    """FEM: channels weighted by how often they exceed k deviations above their mean (Fuad et al., 2020).

    activations: [n, K, h, w] at `layer`; no gradient, so it does not depend on the explained class. The weight is the
    share of a channel's places that are unusually large. Returns [n, 1, h, w], signed if not `relu` and the layer has
    negative activations, in units of the activations.
    """
    mean = activations.mean((2, 3), keepdim=True)
    deviation = activations.std((2, 3), correction=0, keepdim=True)
    rare = (activations > mean + k * deviation).to(activations)
    return _combined(rare.mean((2, 3), keepdim=True), activations, relu)


def _combined(weights: Tensor, activations: Tensor, relu: bool) -> PixelMaps:
    """The weighted sum of channels, [n, 1, h, w]."""
    cam = (weights * activations).sum(1, keepdim=True)
    return cam.relu() if relu else cam
