"""Class activation maps: weighted sums of a layer's channels."""

from __future__ import annotations

from torch import Tensor

from xaicli.explain.explanation import PixelMaps


def gradcam(activations: Tensor, gradients: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """Grad-CAM: channels weighted by their mean gradient (Selvaraju et al., 2017).

    activations, gradients: [n, K, h, w] at `layer` (auto = the last spatial one), of the explained quantity. Returns
    [n, 1, h, w], signed if not `relu`; the planner upsamples it bilinearly to the image.
    """
    cam = (gradients.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True)
    return cam.relu() if relu else cam
