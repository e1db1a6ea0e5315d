"""Attacks that follow the gradient of the loss."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from xaicli.attack.norms import DEFAULT_EPS, direction, project
from xaicli.attack.norms import random_start as begin
from xaicli.attack.plan import Attack, Draw, Move
from xaicli.signatures import Count, NonNegative, Positive


def fgsm(*, norm: Literal["linf", "l2"] = "linf", eps: NonNegative | None = None) -> Attack:
    """One full step along the gradient: the fast gradient (sign) method (Goodfellow et al., 2015).

    norm: `linf` steps along the sign, `l2` along g/norm(g). eps: radius in pixel values of [0, 1]; auto is 8/255 for
    linf and 0.5 for l2.
    """
    radius = DEFAULT_EPS[norm] if eps is None else eps
    return Attack(norm, radius, 1, 1, lambda _draw, clean: clean, _mover(norm, radius, radius))


def pgd(
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative | None = None,
    step: Positive | None = None,
    steps: Count = 20,
    restarts: Count = 1,
    random_start: bool = True,
    targeted: bool = False,
    towards: Literal["least-likely", "runner-up", "random"] = "least-likely",
) -> Attack:
    """Projected gradient ascent on the cross-entropy from a random start (Madry et al., 2018).

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf and 0.5 for l2. step: auto is 2.5*eps/steps. The loss
    is the log odds, which have the cross-entropy's direction but do not saturate. A sample stops at its first
    misclassified iterate; `restarts` begin again from other random points. targeted: the loss of the class that
    `towards` names is lowered instead, and success means that this class is predicted.
    """
    radius = DEFAULT_EPS[norm] if eps is None else eps
    stride = 2.5 * radius / steps if step is None else step

    def start(draw: Draw, clean: Tensor) -> Tensor:
        return begin(clean, radius, norm, draw) if random_start else clean

    return Attack(
        norm, radius, steps, restarts, start, _mover(norm, stride, radius), towards=towards if targeted else None
    )


def _mover(norm: str, stride: float, radius: float) -> Move:
    def move(point: Tensor, clean: Tensor, gradient: Tensor, draw: Draw) -> Tensor:
        return project(direction(gradient, norm, draw.normal).mul_(stride).add_(point), clean, radius, norm)

    return move
