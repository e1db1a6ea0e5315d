"""Attacks that follow the gradient of the loss."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from xaicli.attack.norms import direction, project, sparse
from xaicli.attack.norms import random_start as begin
from xaicli.attack.plan import Attack, Draw, Move
from xaicli.attack.radii import at_radii
from xaicli.signatures import Count, Positive, Radii, Share


def fgsm(*, norm: Literal["linf", "l2", "l1"] = "linf", eps: Radii | None = None, sparsity: Share = 0.05) -> Attack:
    """One full step along the gradient: the fast gradient (sign) method (Goodfellow et al., 2015).

    norm: `linf` steps along the sign, `l2` along g/norm(g), `l1` along the signs of the largest values. eps: radius in
    pixel values of [0, 1]; auto is 8/255 for linf, 0.5 for l2 and 12 for l1; several give a security curve. sparsity:
    of l1, the share of the values that are moved.
    """

    def at(radius: float) -> Attack:
        return Attack(norm, radius, 1, 1, lambda _draw, clean: clean, _mover(norm, radius, radius, sparsity))

    return at_radii(norm, eps, at)


def pgd(
    *,
    norm: Literal["linf", "l2", "l1"] = "linf",
    eps: Radii | None = None,
    step: Positive | None = None,
    steps: Count = 20,
    restarts: Count = 1,
    random_start: bool = True,
    targeted: bool = False,
    towards: Literal["least-likely", "runner-up", "random"] = "least-likely",
    eot: Count = 1,
    sparsity: Share = 0.05,
) -> Attack:
    """Projected gradient ascent on the cross-entropy from a random start (Madry et al., 2018).

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf, 0.5 for l2 and 12 for l1; several give a security
    curve. step: auto is 2.5*eps/steps. The loss is the log odds, which have the cross-entropy's direction but do not
    saturate. A sample stops at its first misclassified iterate; `restarts` begin again from other random points.
    targeted: the loss of the class that `towards` names is lowered instead, and success means that this class is
    predicted. eot: gradients averaged a step, for networks that are random (Athalye et al., 2018). sparsity: of l1, the
    share of the values that a step moves; the projection is onto ball and box together (Croce and Hein, 2021).
    """

    def at(radius: float) -> Attack:
        stride = 2.5 * radius / steps if step is None else step

        def start(draw: Draw, clean: Tensor) -> Tensor:
            return begin(clean, radius, norm, draw) if random_start else clean

        move = _mover(norm, stride, radius, sparsity)
        return Attack(norm, radius, steps, restarts, start, move, towards=towards if targeted else None, cost=eot)

    return at_radii(norm, eps, at)


def _mover(norm: str, stride: float, radius: float, sparsity: float) -> Move:
    def move(point: Tensor, clean: Tensor, gradient: Tensor, draw: Draw) -> Tensor:
        if norm == "l1":
            uphill = sparse(gradient, point, sparsity, draw.normal)
        else:
            uphill = direction(gradient, norm, draw.normal)
        return project(uphill.mul_(stride).add_(point), clean, radius, norm)

    return move
