"""What becomes of maps, logits and features when the image changes a little: one draw at a time, none of them kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.evaluate.again import Explainers, norms
from xaicli.evaluate.asked import Subject
from xaicli.run.plan import forwards
from xaicli.run.random import Stream


@dataclass(frozen=True, eq=False)
class Noisy:
    """Copies of the rows' images with noise, drawn again whenever they are looked at.

    noise: of a copy, by its number. count: how many there are.
    """

    images: Tensor
    noise: Callable[[int], npt.NDArray[np.float32]]
    count: int

    def __iter__(self) -> Iterator[Tensor]:
        for copy in range(self.count):
            yield self.images + torch.as_tensor(self.noise(copy)).to(self.images)

    def together(self, rows: int) -> Iterator[Tensor]:
        """As many copies at once as `rows` rows hold, but at least one: [k, n, C, H, W]."""
        copies = iter(self)
        while at_once := list(islice(copies, max(1, rows // len(self.images)))):
            yield torch.stack(at_once)


@dataclass(frozen=True)
class Outputs:
    """What the model says nearby, float64 [n, draws].

    same: whether the class with the largest logit is the same. logits, features: how much they change, relative to
    their norm on the image; features are None for a network whose logits do not come from one linear layer.
    """

    same: Tensor
    logits: Tensor
    features: Tensor | None


def nearby_images(subject: Subject, stream: Stream, *, radius: float = 0.02, draws: int = 10) -> Noisy:
    """Images with uniform noise of at most `radius`, the same for all explainers; not clipped to [0, 1]."""
    shape = subject.images.shape[1:]
    return Noisy(subject.images, lambda draw: radius * (2 * stream.fork(str(draw)).uniform(shape) - 1), draws)


def nearby_distances(subject: Subject, nearby_images: Noisy) -> Tensor:
    """How far each draw is from the image, l2 norm, [n, draws]."""
    return torch.stack([norms(images - subject.images) for images in nearby_images], 1)


@forwards(lambda draws, again: draws * again())
def nearby_changes(
    subject: Subject, explainers: Explainers, nearby_images: Noisy, *, draws: int = 10
) -> tuple[Tensor, ...]:
    """How far each explainer's maps of the draws are from its map of the image, l2 norm, [n, draws] each.

    The class explained stays that of the image.
    """
    found = [explainers.changes(subject.about(copies)) for copies in nearby_images.together(subject.calls.batch_size)]
    return tuple(torch.cat(one).view(draws, -1).T for one in zip(*found, strict=True))


def nearby_change(nearby_changes: tuple[Tensor, ...], explainer: int, attribution: Tensor) -> Tensor:
    """How far the explainer's maps of the draws are from its own, relative to its norm, [n, draws]; NaN for norm 0."""
    size = norms(attribution).unsqueeze(1)
    return torch.where(size > 0, nearby_changes[explainer] / torch.where(size > 0, size, 1), torch.nan)


@forwards(lambda draws: draws + 1)
def nearby_outputs(subject: Subject, nearby_images: Noisy, *, draws: int = 10) -> Outputs:
    """What the model says of the draws, and of the image once more, because its features are needed too."""
    logits, features = _asked(subject, subject.images)
    same, moved, shifted = [], [], []
    for copies in nearby_images.together(subject.calls.batch_size):
        there, seen = _asked(subject, copies.flatten(0, 1))
        same.append(there.view(len(copies), *logits.shape).argmax(2) == logits.argmax(1))
        moved.append(_relative(there, logits))
        if features is not None and seen is not None:
            shifted.append(_relative(seen, features))
    return Outputs(torch.cat(same).T, torch.cat(moved).T, torch.cat(shifted).T if shifted else None)


def _relative(there: Tensor, here: Tensor) -> Tensor:
    """How far copies [k * n, D] are from the rows [n, D], relative to their norm, [k, n]."""
    copies = len(there) // len(here)
    return norms(there - here.repeat(copies, 1)).view(copies, -1) / norms(here)


def _asked(subject: Subject, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits and, where the network has them, penultimate features."""
    try:
        return subject.calls.features(images)
    except InputError:
        return subject.calls.logits(images), None


QUERIES = (nearby_images, nearby_distances, nearby_changes, nearby_change, nearby_outputs)
