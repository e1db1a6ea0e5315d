"""Noise of the same size: the control that an attack has to beat."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from xaicli.attack.norms import DEFAULT_EPS, random_point
from xaicli.attack.plan import Attack, Draw
from xaicli.signatures import Count, NonNegative


def gaussian_noise(*, sigma: NonNegative = 0.1, draws: Count = 1) -> Attack:
    """Gaussian noise of a given standard deviation, clipped to [0, 1]: a control.

    sigma: in pixel values of [0, 1]. draws: tries per sample, the first misclassified one counts.
    """

    def start(draw: Draw, clean: Tensor) -> Tensor:
        return (clean + sigma * draw.normal()).clamp(0, 1)

    return Attack("l2", None, 0, draws, start, _stay)


def uniform_noise(
    *, norm: Literal["linf", "l2", "l1"] = "linf", eps: NonNegative | None = None, draws: Count = 1
) -> Attack:
    """A uniform point of the eps-ball, clipped to [0, 1]: a control of the attack's own size.

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf, 0.5 for l2 and 12 for l1. draws: tries per sample.
    """
    radius = DEFAULT_EPS[norm] if eps is None else eps

    def start(draw: Draw, clean: Tensor) -> Tensor:
        return random_point(clean, radius, norm, draw)

    return Attack(norm, radius, 0, draws, start, _stay)


def _stay(point: Tensor, clean: Tensor, gradient: Tensor, draw: Draw) -> Tensor:
    return point
