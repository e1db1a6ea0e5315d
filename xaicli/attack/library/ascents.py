"""Attacks of torchattacks that climb a loss in a linf-ball, each in its own way.

`towards` aims at a class instead of away from the true one. eps and alpha (the step) are in pixel values of [0, 1].
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from xaicli.attack.library.borrowed import Borrowed, borrow
from xaicli.signatures import Count, NonNegative, Positive


def bim(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Signed gradient steps from the image itself: the basic iterative method (Kurakin et al., 2017).

    eps, alpha: radius and step in pixel values of [0, 1]. By torchattacks, one image at a time.
    """
    return borrow("BIM", "linf", steps, **locals())


def rfgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Signed gradient steps after a random signed one: R+FGSM (Tramer et al., 2018).

    eps, alpha: radius and step in pixel values of [0, 1]. By torchattacks, one image at a time.
    """
    return borrow("RFGSM", "linf", steps, **locals())


def ffgsm(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 10 / 255,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """One long signed step from a uniform start: fast FGSM (Wong et al., 2020).

    eps, alpha: radius and step in pixel values of [0, 1]. By torchattacks, one image at a time.
    """
    return borrow("FFGSM", "linf", 1, **locals())


def eotpgd(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    eot_iter: Count = 2,
    random_start: bool = True,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """PGD along the mean of several gradients, for models that draw numbers (Zimmermann, 2019).

    eps, alpha: radius and step in pixel values of [0, 1]. eot-iter: gradients a step; of a deterministic model they are
    all the same. By torchattacks, one image at a time.
    """
    return borrow("EOTPGD", "linf", steps * eot_iter, **locals())


def tpgd(*, eps: NonNegative = 8 / 255, alpha: Positive = 2 / 255, steps: Count = 10) -> Borrowed:
    """PGD that drives the prediction away from the clean one in KL divergence, as TRADES trains (Zhang et al., 2019).

    eps, alpha: radius and step in pixel values of [0, 1]. By torchattacks, one image at a time.
    """
    return borrow("TPGD", "linf", steps + 1, **locals())


def upgd(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    random_start: bool = False,
    loss: Literal["ce", "margin", "dlr"] = "ce",
    decay: NonNegative = 1.0,
    eot_iter: Count = 1,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """PGD with momentum and a loss of choice, torchattacks' own mixture (Kim, 2020).

    eps, alpha: radius and step in pixel values of [0, 1]. decay: of the momentum. loss: ce is the cross-entropy, margin
    the difference of two logits, dlr that of APGD, which takes 3 classes, or 4 when it aims at one. By torchattacks,
    one image at a time.
    """
    made = borrow("UPGD", "linf", steps * eot_iter, **locals())
    return replace(made, fewest_classes=2 if loss != "dlr" else 3 if made.towards is None else 4)


def jitter(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    scale: Positive = 10,
    std: NonNegative = 0.1,
    random_start: bool = True,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """PGD on scaled and noisy logits, which escapes saturated losses (Schwinn et al., 2021).

    eps, alpha: radius and step in pixel values of [0, 1]. scale: the largest scaled logit. std: of the noise on them.
    By torchattacks, one image at a time.
    """
    return borrow("Jitter", "linf", steps, **locals())


def pgdrs(
    *,
    eps: NonNegative = 8 / 255,
    alpha: Positive = 2 / 255,
    steps: Count = 10,
    noise_type: Literal["gaussian", "uniform"] = "gaussian",
    noise_sd: NonNegative = 0.5,
    noise_batch_size: Count = 5,
    batch_max: Count = 2048,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """PGD against the model smoothed by noise (Salman et al., 2019).

    eps, alpha: radius and step in pixel values of [0, 1]. noise-sd: of the noise, whose noise-batch-size draws are
    averaged; success is judged without noise. By torchattacks, one image at a time.
    """
    return borrow("PGDRS", "linf", steps * noise_batch_size, **{**locals(), "noise_type": SPELLED[noise_type]})


def pgdrsl2(
    *,
    eps: NonNegative = 1.0,
    alpha: Positive = 0.2,
    steps: Count = 10,
    noise_type: Literal["gaussian", "uniform"] = "gaussian",
    noise_sd: NonNegative = 0.5,
    noise_batch_size: Count = 5,
    batch_max: Count = 2048,
    eps_for_division: NonNegative = 1e-10,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """PGD in l2 against the model smoothed by noise (Salman et al., 2019).

    eps, alpha: radius and step in the l2 norm of pixel values of [0, 1]. noise-sd: of the noise, whose noise-batch-size
    draws are averaged; success is judged without noise. eps-for-division: added to norms of gradients. By torchattacks,
    one image at a time.
    """
    return borrow("PGDRSL2", "l2", steps * noise_batch_size, **{**locals(), "noise_type": SPELLED[noise_type]})


def spsa(
    *,
    eps: NonNegative = 0.3,
    delta: Positive = 0.01,
    lr: Positive = 0.01,
    nb_iter: Count = 1,
    nb_sample: Count = 128,
    max_batch_size: Count = 64,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Adam on gradients guessed from pairs of forwards, without backwards (Uesato et al., 2018).

    eps: linf radius in pixel values of [0, 1]. delta: size of the probes. lr: of Adam. nb-sample: pairs an iteration.
    By torchattacks, one image at a time.
    """
    return borrow("SPSA", "linf", 2 * nb_sample * nb_iter, **locals())


SPELLED = {"gaussian": "guassian", "uniform": "uniform"}  # as the library spells them
