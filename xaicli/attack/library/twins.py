"""Attacks of torchattacks that are here in our own hands as well, for comparison: `torchattacks-pgd` beside `pgd`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from xaicli.attack.library.borrowed import Borrowed, borrow
from xaicli.signatures import Count, NonNegative, Positive, Share

DLR = 3  # classes that the difference of logits ratio takes
TARGETED_DLR = 4


def fgsm(*, eps: NonNegative = 8 / 255) -> Borrowed:
    """One signed gradient step, as torchattacks does it (Goodfellow et al., 2015).

    eps: linf radius in pixel values of [0, 1]. One image at a time.
    """
    return borrow("FGSM", "linf", 1, **locals())


def pgd(
    *, eps: NonNegative = 8 / 255, alpha: Positive = 2 / 255, steps: Count = 10, random_start: bool = True
) -> Borrowed:
    """Projected gradient ascent in linf, as torchattacks does it: the last iterate counts (Madry et al., 2018).

    eps, alpha: radius and step in pixel values of [0, 1]. One image at a time.
    """
    return borrow("PGD", "linf", steps, **locals())


def pgdl2(
    *,
    eps: NonNegative = 1.0,
    alpha: Positive = 0.2,
    steps: Count = 10,
    random_start: bool = True,
    eps_for_division: NonNegative = 1e-10,
) -> Borrowed:
    """Projected gradient ascent in l2, as torchattacks does it: the last iterate counts (Madry et al., 2018).

    eps, alpha: radius and step in the l2 norm of pixel values of [0, 1]. eps-for-division: added to norms of gradients.
    One image at a time, as strong as it gets: in large batches its steps vanish.
    """
    return borrow("PGDL2", "l2", steps, **locals())


def apgd(
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative = 8 / 255,
    steps: Count = 10,
    n_restarts: Count = 1,
    loss: Literal["ce", "dlr"] = "ce",
    eot_iter: Count = 1,
    rho: Share = 0.75,
) -> Borrowed:
    """Ascent that halves its step where it stalls, as torchattacks does it (Croce and Hein, 2020).

    eps: radius in pixel values of [0, 1]. loss: dlr takes 3 classes. One image at a time.
    """
    made = borrow("APGD", norm, 1 + n_restarts * (steps + 2) * eot_iter, **locals())
    return replace(made, fewest_classes=DLR if loss == "dlr" else 2)


def apgdt(
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative = 8 / 255,
    steps: Count = 10,
    n_restarts: Count = 1,
    eot_iter: Count = 1,
    rho: Share = 0.75,
) -> Borrowed:
    """APGD towards every other class in turn, as torchattacks does it (Croce and Hein, 2020).

    eps: radius in pixel values of [0, 1]. For at least 4 classes. One image at a time.
    """

    def cost(values: int, classes: int) -> int:
        return 1 + n_restarts * (classes - 1) * ((steps + 2) * eot_iter + 1)

    made = borrow(
        "APGDT", norm, cost, norm=norm, eps=eps, steps=steps, n_restarts=n_restarts, eot_iter=eot_iter, rho=rho
    )
    return replace(made, fewest_classes=TARGETED_DLR)


def fab(
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative = 8 / 255,
    steps: Count = 10,
    n_restarts: Count = 1,
    alpha_max: NonNegative = 0.1,
    eta: Positive = 1.05,
    beta: Share = 0.9,
    multi_targeted: bool = False,
) -> Borrowed:
    """Steps to the nearest border and back towards the image, as torchattacks does it (Croce and Hein, 2020).

    eps: what is farther is not kept, in pixel values of [0, 1]. multi-targeted: the borders to all other classes in
    turn. One image at a time.
    """

    def cost(values: int, classes: int) -> int:
        turns = n_restarts * (classes - 1 if multi_targeted else 1)
        return 2 + turns * (2 * steps + FAB_EXTRA)

    given: dict[str, Any] = {"norm": norm, "eps": eps, "steps": steps, "n_restarts": n_restarts, "alpha_max": alpha_max}
    return borrow("FAB", norm, cost, **given, eta=eta, beta=beta, multi_targeted=multi_targeted)


def square(
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative = 8 / 255,
    n_queries: Count = 5000,
    n_restarts: Count = 1,
    p_init: Share = 0.8,
    loss: Literal["margin", "ce"] = "margin",
    resc_schedule: bool = True,
) -> Borrowed:
    """Random squares, kept where they help, as torchattacks does it (Andriushchenko et al., 2020).

    eps: radius in pixel values of [0, 1]. p-init: share of the image that a square begins with. One image at a time.
    """
    return borrow("Square", norm, 2 + n_restarts * (n_queries + 2), **locals())


def autoattack(
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative = 8 / 255,
    version: Literal["standard", "plus", "rand"] = "standard",
) -> Borrowed:
    """Torchattacks' AutoAttack, of 10 steps and not 100: no AutoAttack by its authors' definition (Kim, 2020).

    eps: radius in pixel values of [0, 1]. For at least 4 classes. `autoattack` is the official one. One image at
    a time.
    """

    def cost(values: int, classes: int) -> int:
        return AUTO_QUERIES + classes * AUTO_STEPS

    return replace(borrow("AutoAttack", norm, cost, norm=norm, eps=eps, version=version), fewest_classes=TARGETED_DLR)


FAB_EXTRA = 32  # its final search
AUTO_QUERIES, AUTO_STEPS = 5300, 120  # square, and what comes before it for each class
