"""Attribution from the gradient with respect to the image: as it is, averaged over noise, or with ReLUs that cut it."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from xaicli.explain.cams import gradcam
from xaicli.explain.explanation import CHANNELS, ChannelMaps, GradientMaps, Measured, stores
from xaicli.explain.passes import InputPass
from xaicli.explain.turns import Moments
from xaicli.signatures import Count, Positive


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


@stores(standard_error=CHANNELS)
def smoothgrad(noisy_gradient_moments: Moments, *, n: Count = 25, sigma: Positive = 0.15) -> Measured[GradientMaps]:
    """The mean gradient over noisy copies of the image (Smilkov et al., 2017).

    Returns [n, C, H, W], signed, in units of the quantity per unit of pixel value, with the standard error of the mean
    (NaN for one copy). `n` copies with normal noise of deviation `sigma`, in units of the range of pixel values. The
    same noise serves squaregrad and vargrad.
    """
    moments = noisy_gradient_moments
    return Measured(moments.mean, figures={"standard_error": moments.standard_error})


def squaregrad(noisy_gradient_moments: Moments, *, n: Count = 25, sigma: Positive = 0.15) -> GradientMaps:
    """The mean squared gradient over noisy copies of the image (Hooker et al., 2019).

    Returns [n, C, H, W], non-negative, in squared units of the quantity per unit of pixel value. `n` copies with normal
    noise of deviation `sigma`, in units of the range of pixel values: those of smoothgrad.
    """
    moments = noisy_gradient_moments
    return moments.variance + moments.mean * moments.mean


def vargrad(noisy_gradient_moments: Moments, *, n: Count = 25, sigma: Positive = 0.15) -> GradientMaps:
    """The variance of the gradient over noisy copies of the image (Adebayo et al., 2018).

    Returns [n, C, H, W], non-negative, in squared units of the quantity per unit of pixel value: the mean squared
    deviation from smoothgrad. `n` copies with normal noise of deviation `sigma`, in units of the range of pixel values.
    """
    return noisy_gradient_moments.variance


def guided_backprop(guided_pass: InputPass) -> GradientMaps:
    """The gradient with every negative part cut off on its way back through a ReLU (Springenberg et al., 2015).

    Returns [n, C, H, W], signed, in units of the quantity per unit of pixel value. ReLU6 counts as a ReLU, other
    activations keep their gradient, and a network without any ReLU is refused.
    """
    return guided_pass.gradient


def deconvolution(deconvolution_pass: InputPass) -> GradientMaps:
    """The gradient through ReLUs that cut where it is negative, not where they are silent (Zeiler and Fergus, 2014).

    Returns [n, C, H, W], signed, in units of the quantity per unit of pixel value. ReLU6 counts as a ReLU, other
    activations keep their gradient, and a network without any ReLU is refused.
    """
    return deconvolution_pass.gradient


def guided_gradcam(
    guided_pass: InputPass, activations: Tensor, gradients: Tensor, *, layer: str = "auto"
) -> ChannelMaps:
    """Guided backpropagation where Grad-CAM finds evidence: their product (Selvaraju et al., 2017).

    Returns [n, C, H, W], signed: guided-backprop times the gradcam of `layer` (auto = the last spatial one), upsampled
    bilinearly to the image. A network without ReLU is refused.
    """
    guided = guided_pass.gradient
    cam = gradcam(activations, gradients)
    return guided * interpolate(cam, size=tuple(guided.shape[2:]), mode="bilinear", align_corners=False)
