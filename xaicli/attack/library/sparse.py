"""Attacks of torchattacks that change few pixels; the stored distance is how many."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Literal

from xaicli.attack.library.borrowed import Borrowed, borrow
from xaicli.errors import UsageError
from xaicli.signatures import Count, NonNegative, Positive, Share

DEEPFOOL_STEPS = 50  # of the one inside SparseFool
PAIRS = 15_000  # values of an image: a table of their pairs takes 0.8 GiB


def sparsefool(*, steps: Count = 10, lam: Positive = 3, overshoot: NonNegative = 0.02) -> Borrowed:
    """Few pixels by the border that DeepFool finds, taken for flat (Modas et al., 2019).

    lam: how far beyond the border the plane is laid. The distance is the number of pixels changed. By torchattacks, one
    image at a time.
    """
    return borrow("SparseFool", "l0", steps * (DEEPFOOL_STEPS + 2), **locals())


def onepixel(
    *,
    pixels: Count = 1,
    steps: Count = 10,
    popsize: Count = 10,
    inf_batch: Count = 128,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """One pixel, or a few, found by differential evolution without gradients (Su et al., 2019).

    pixels: how many may change. popsize: candidates of a generation, steps: generations. The distance is the number of
    pixels changed. By torchattacks, one image at a time.
    """
    return borrow("OnePixel", "l0", (steps + 1) * (max(popsize, 5 * pixels) + 1), **locals())


def pixle(
    *,
    x_dimensions: tuple[float, ...] = (2, 10),
    y_dimensions: tuple[float, ...] = (2, 10),
    pixel_mapping: Literal["random", "similarity", "similarity-random", "distance", "distance-random"] = "random",
    restarts: Count = 20,
    max_iterations: Count = 10,
    update_each_iteration: bool = False,
    towards: Literal["none", "least-likely", "runner-up", "random"] = "none",
) -> Borrowed:
    """Pixels of a patch copied to other places, without gradients (Pomponi et al., 2022).

    For square images. x-dimensions, y-dimensions: least and most pixels of the patch, or below 1 shares of the side.
    pixel-mapping: how the places are chosen. The distance is the number of pixels changed. By torchattacks,
    one image at a time.
    """
    sides = {"x_dimensions": _side(x_dimensions), "y_dimensions": _side(y_dimensions)}
    given = {**locals(), **sides, "pixel_mapping": pixel_mapping.replace("-", "_")}
    del given["sides"]
    return replace(borrow("Pixle", "l0", 1 + 2 * restarts * max_iterations, **given), square=True)


def jsma(
    *,
    theta: float = 1.0,
    gamma: Share = 0.1,
    towards: Literal["next", "least-likely", "runner-up", "random"] = "next",
) -> Borrowed:
    """Pairs of values whose change speaks most for a class, by the Jacobian (Papernot et al., 2016).

    theta: change of a value, in pixel values of [0, 1]. gamma: the largest share of values that may change. It always
    aims at a class, and success is that class; next: the one after the true one. Its tables hold all pairs of values,
    so it is for small images. The distance is the number of pixels changed. By torchattacks, one image at a time.
    """

    def cost(values: int, classes: int) -> int:
        return 1 + 2 * ceil(values * gamma / 2)

    made = borrow("JSMA", "l0", cost, theta=theta, gamma=gamma, towards=towards)
    return replace(made, most_values=PAIRS)


def _side(bounds: tuple[float, ...]) -> tuple[int | float, ...]:
    """Least and most of a patch's side as the library tells pixels from shares: by their type."""
    if len(bounds) > 2 or any(bound <= 0 or (bound > 1 and bound != int(bound)) for bound in bounds):
        raise UsageError(f"a patch has one side or two bounds, whole pixels or shares below 1, not {bounds}.")
    return tuple(int(bound) if bound >= 1 else bound for bound in (bounds if len(bounds) == 2 else bounds * 2))
