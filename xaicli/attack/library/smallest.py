"""Attacks of torchattacks that look for the smallest change, in l2 or l1, without a radius, and its controls."""

from __future__ import annotations

from typing import Literal

from xaicli.attack.library.borrowed import Borrowed, borrow
from xaicli.errors import UsageError
from xaicli.signatures import Count, NonNegative, Positive

ABORTING = 10  # looks at the loss ten times, and divides by the iterations between


def cw(
    *,
    c: Positive = 1,
    kappa: NonNegative = 0,
    steps: Count = 50,
    lr: Positive = 0.01,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """A small l2 change by Adam on distance and margin together (Carlini and Wagner, 2017).

    c: weight of the margin, not searched for. kappa: margin asked for, in logits. lr: of Adam, in the space of tanh,
    where pixels that are 0 or 1 cannot move. A row that it does not break keeps its image. By torchattacks, one image
    at a time.
    """
    return borrow("CW", "l2", steps, **locals())


def deepfool(*, steps: Count = 50, overshoot: NonNegative = 0.02) -> Borrowed:
    """The nearest border, with the model taken for linear, until it is crossed (Moosavi-Dezfooli et al., 2016).

    overshoot: how much further than the border, as a share; the distance is l2. Each step takes a backward a class. By
    torchattacks, one image at a time.
    """
    return borrow("DeepFool", "l2", steps, **locals())


def eadl1(
    *,
    kappa: NonNegative = 0,
    lr: Positive = 0.01,
    binary_search_steps: Count = 9,
    max_iterations: Count = 100,
    abort_early: bool = True,
    initial_const: Positive = 0.001,
    beta: NonNegative = 0.001,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """A small l1 change by shrinkage and a search for the margin's weight: EAD (Chen et al., 2018).

    kappa: margin asked for, in logits. beta: weight of l1 against l2. initial-const: first weight of the margin. The
    stored distance is l1. A row that it does not break keeps its image. By torchattacks, one image at a time.
    """
    _enough(max_iterations, abort_early)
    return borrow("EADL1", "l1", 1 + 2 * binary_search_steps * max_iterations, **locals())


def eaden(
    *,
    kappa: NonNegative = 0,
    lr: Positive = 0.01,
    binary_search_steps: Count = 9,
    max_iterations: Count = 100,
    abort_early: bool = True,
    initial_const: Positive = 0.001,
    beta: NonNegative = 0.001,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """A small change in l1 and l2 together, the elastic net: EAD (Chen et al., 2018).

    kappa: margin asked for, in logits. beta: weight of l1 against l2. initial-const: first weight of the margin. The
    stored distance is l2. A row that it does not break keeps its image. By torchattacks, one image at a time.
    """
    _enough(max_iterations, abort_early)
    return borrow("EADEN", "l2", 1 + 2 * binary_search_steps * max_iterations, **locals())


def gn(*, std: NonNegative = 0.1) -> Borrowed:
    """Gaussian noise clipped to [0, 1], as torchattacks draws it: a control.

    std: in pixel values of [0, 1]; the distance is l2. By torchattacks, one image at a time.
    """
    return borrow("GN", "l2", 0, **locals())


def vanila() -> Borrowed:
    """The image itself, by torchattacks' name for it: a control.

    Its robust accuracy is the clean one. By torchattacks, one image at a time.
    """
    return borrow("VANILA", "linf", 0)


def _enough(max_iterations: int, abort_early: bool) -> None:
    """UsageError where the library would divide by zero."""
    if abort_early and max_iterations < ABORTING:
        raise UsageError(
            f"max-iterations={max_iterations} is too few for torchattacks to look whether it may stop early; "
            f"use at least {ABORTING}, or abort-early=false."
        )
