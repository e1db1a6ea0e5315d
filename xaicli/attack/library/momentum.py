"""Attacks of torchattacks made to fool other models too: momentum, varied inputs, smoothed gradients; all in linf."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from xaicli.attack.library.borrowed import Borrowed, borrow
from xaicli.signatures import Count, NonNegative, Positive, Share


def mifgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    decay: NonNegative = 1.0,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Signed steps along a running sum of gradients: momentum iterative FGSM (Dong et al., 2018).

    eps, alpha: radius and step in pixel values of [0, 1]. decay: of the momentum. By torchattacks, one image at a time.
    """
    return borrow("MIFGSM", "linf", steps, **locals())


def nifgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    decay: NonNegative = 1.0,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Momentum FGSM that looks one step ahead: Nesterov iterative FGSM (Lin et al., 2020).

    eps, alpha: radius and step in pixel values of [0, 1]. decay: of the momentum. By torchattacks, one image at a time.
    """
    return borrow("NIFGSM", "linf", steps, **locals())


def sinifgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    decay: NonNegative = 1.0,
    m: Count = 5,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Nesterov FGSM over darkened copies of the image: SI-NI-FGSM (Lin et al., 2020).

    eps, alpha: radius and step in pixel values of [0, 1]. decay: of the momentum. m: copies, each half as bright as the
    one before. By torchattacks, one image at a time.
    """
    return borrow("SINIFGSM", "linf", steps * m, **locals())


def vmifgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    decay: NonNegative = 1.0,
    N: Count = 5,
    beta: Positive = 3 / 2,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Momentum FGSM with the gradient's variance in a neighbourhood taken off: VMI-FGSM (Wang and He, 2021).

    eps, alpha: radius and step in pixel values of [0, 1]. decay: of the momentum. N: neighbours a step,
    within beta*eps. By torchattacks, one image at a time.
    """
    return borrow("VMIFGSM", "linf", steps * (1 + N), **locals())


def vnifgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    decay: NonNegative = 1.0,
    N: Count = 5,
    beta: Positive = 3 / 2,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Nesterov FGSM with the gradient's variance in a neighbourhood taken off: VNI-FGSM (Wang and He, 2021).

    eps, alpha: radius and step in pixel values of [0, 1]. decay: of the momentum. N: neighbours a step,
    within beta*eps. By torchattacks, one image at a time.
    """
    return borrow("VNIFGSM", "linf", steps * (1 + N), **locals())


def difgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    decay: NonNegative = 0.0,
    resize_rate: Positive = 0.9,
    diversity_prob: Share = 0.5,
    random_start: bool = False,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Signed steps on randomly resized and padded images: diverse inputs, DI2-FGSM (Xie et al., 2019).

    eps, alpha: radius and step in pixel values of [0, 1]. decay: of the momentum. resize-rate: the smallest size, as a
    share of the image's. diversity-prob: how often a step sees such a copy. For square images. By torchattacks, one
    image at a time.
    """
    return replace(borrow("DIFGSM", "linf", steps, **locals()), square=True)


def tifgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    decay: NonNegative = 0.0,
    kernel_name: Literal["gaussian", "linear", "uniform"] = "gaussian",
    len_kernel: Count = 15,
    nsig: Positive = 3,
    resize_rate: Positive = 0.9,
    diversity_prob: Share = 0.5,
    random_start: bool = False,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Diverse inputs with smoothed gradients: translation-invariant FGSM (Dong et al., 2019).

    For square images of three channels. eps, alpha: radius and step in pixel values of [0, 1]. len-kernel, nsig: side
    and reach of the kernel. resize-rate, diversity-prob: as of difgsm. By torchattacks, one image at a time.
    """
    return replace(borrow("TIFGSM", "linf", steps, **locals()), channels=3, square=True)


def pifgsm(
    *,
    max_epsilon: NonNegative = 16 / 255,
    num_iter_set: Count = 10,
    momentum: NonNegative = 1.0,
    amplification: Positive = 10.0,
    prob: Share = 0.7,
) -> Borrowed:
    """Amplified steps whose overflow goes to the neighbouring pixels: patch-wise FGSM (Gao et al., 2020).

    For images of three channels. max-epsilon: linf radius in pixel values of [0, 1]. num-iter-set: steps.
    amplification: of a step. The library reads momentum and prob, but does not use them. By torchattacks, one image at
    a time.
    """
    return replace(borrow("PIFGSM", "linf", num_iter_set, **locals()), channels=3)


def pifgsmpp(
    *,
    max_epsilon: NonNegative = 16 / 255,
    num_iter_set: Count = 10,
    momentum: NonNegative = 1.0,
    amplification: Positive = 10.0,
    prob: Share = 0.7,
    project_factor: NonNegative = 0.8,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Patch-wise FGSM with smoothed gradients: PI-FGSM++ (Gao et al., 2020).

    For images of three channels. max-epsilon: linf radius in pixel values of [0, 1]. num-iter-set: steps.
    amplification: of a step. project-factor: of the overflow. The library reads momentum and prob, but does not use
    them. By torchattacks, one image at a time.
    """
    return replace(borrow("PIFGSMPP", "linf", num_iter_set, **locals()), channels=3)
