"""What metrics start from: rows with the class explained, and what the model says of image and baseline."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xaicli.explain.baselines import make_baseline
from xaicli.explain.quantity import score
from xaicli.run.calls import Calls
from xaicli.run.plan import forwards
from xaicli.run.random import Stream

_NAMES = {"noise": "uniform", "own": "black"}  # a map's own baseline, where nothing says which it is
TINY = 1e-6  # below it a share is undefined


@dataclass(frozen=True)
class Subject:
    """The root: some rows, the class that was explained, and how to ask about them."""

    calls: Calls
    images: Tensor  # [n, C, H, W] in [0, 1]
    target: Tensor  # int64 [n]
    against: Tensor  # int64 [n]

    def about(self, copies: Tensor) -> Subject:
        """The same about copies of the images [k, n, C, H, W], one after the other."""
        target, against = self.target.repeat(len(copies)), self.against.repeat(len(copies))
        return Subject(self.calls, copies.flatten(0, 1), target, against)

    def scores(self, images: Tensor, quantity: str) -> Tensor:
        """The quantity of one image per row, [n]."""
        return score(self.calls.logits(images), self.target, self.against, quantity)

    def scored(self, logits: Tensor, quantity: str) -> Tensor:
        """The quantity of several answers about every row, [n, k], from their logits [n, k, K]."""
        target, against = (classes.repeat_interleave(logits.shape[1]) for classes in (self.target, self.against))
        return score(logits.flatten(0, 1), target, against, quantity).view(logits.shape[:2])


def image(subject: Subject) -> Tensor:
    """The rows' images."""
    return subject.images


@forwards(1)
def logits(subject: Subject) -> Tensor:
    """Logits of the images, [n, K]."""
    return subject.calls.logits(subject.images)


def image_score(subject: Subject, logits: Tensor, *, quantity: str = "logit") -> Tensor:
    """The quantity of the image, [n]."""
    return score(logits, subject.target, subject.against, quantity)


def baseline_image(image: Tensor, stream: Stream, *, baseline: str = "black") -> Tensor:
    """What replaces removed pixels, [n, C, H, W]."""
    return make_baseline(_NAMES.get(baseline, baseline), image, stream)


@forwards(1)
def baseline_logits(subject: Subject, baseline_image: Tensor) -> Tensor:
    """Logits of the baseline, [n, K]."""
    return subject.calls.logits(baseline_image)


def baseline_score(subject: Subject, baseline_logits: Tensor, *, quantity: str = "logit") -> Tensor:
    """The quantity of the baseline, [n]."""
    return score(baseline_logits, subject.target, subject.against, quantity)


QUERIES = (image, logits, image_score, baseline_image, baseline_logits, baseline_score)
