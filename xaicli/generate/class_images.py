"""Class images: what a model wants to see of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xaicli.signatures import Count, Positive


@dataclass(frozen=True)
class Ascent:
    """How images are driven towards their class; `step` and `eps` of None depend on the image's side."""

    steps: int
    step: float | None
    eps: float | None
    start: str
    objective: str
    guide: str

    def radius(self, side: int) -> float:
        """The l2 distance that an image may move: 30 at 32 pixels, 40 at 128 (Santurkar et al., 2019)."""
        return 30 * (side / 32) ** 0.2075 if self.eps is None else self.eps

    def stride(self, side: int) -> float:
        """The l2 length of a step: 0.5 at 32 pixels, 1 at 128."""
        return 0.5 * (side / 32) ** 0.5 if self.step is None else self.step


def class_images(
    *,
    steps: Count = 60,
    step: Positive | None = None,
    eps: Positive | None = None,
    start: Literal["gaussian", "noise", "images"] = "gaussian",
    objective: Literal["logit", "cross-entropy"] = "logit",
    guide: Literal["none", "mask"] = "none",
) -> Ascent:
    """Images that raise a class's logit, from seeds that look like its training images (Santurkar et al., 2019).

    Normalised l2 steps within an l2 ball around the seed, clipped to [0, 1]. step, eps: pixel values of [0, 1]; auto is
    0.5 within 30 at 32 pixels and 1 within 40 at 128. start: `gaussian` draws from N(mean, covariance + 1e-4) of the
    class's training images averaged over 4x4 blocks, `noise` is uniform, `images` takes those of an images SOURCE.
    guide: `mask` lets the image change where the class's mean attribution in an attributions SOURCE is positive, in
    proportion to it. --per-class sets how many.
    """
    return Ascent(steps, step, eps, start, objective, guide)
