"""How known every row looks: to detectors that are fitted once a run, and to the checkpoint's own.

One pass through the network feeds all of them but odin, which asks for a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.evaluate.asked import Subject
from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.odin import odin
from xaicli.models.ensemble import Ensemble
from xaicli.run.calls import Calls
from xaicli.run.plan import forwards
from xaicli.run.rejection import Rejector


@dataclass(frozen=True, eq=False)
class Detectors:
    """The root: detectors by name, fitted when they are first asked for, and the checkpoint's own, None without."""

    fitted: Callable[[Calls], Mapping[str, Detector]]
    own: Callable[[Calls], Rejector | None]


@dataclass(frozen=True, eq=False)
class LastLayer:
    """What goes into the last layer, [n, D], and what comes out, [n, K].

    The logits stand for the features of a network that has none: of several networks' mean, say.
    """

    features: Tensor
    logits: Tensor

    def scores(self, detector: Detector, batch: int) -> Tensor:
        """Of each row, float64 [n]; asked `batch` rows at a time, the last repeated, as the network was."""
        total = len(self.logits)
        rows = torch.arange(-(-total // batch) * batch, device=self.logits.device).clamp_(max=total - 1)
        parts = [detector.score(self.features[some], self.logits[some]) for some in torch.split(rows, batch)]
        return torch.cat(parts)[:total]


@dataclass(frozen=True, eq=False)
class OwnScore:
    """The score of the checkpoint's own detector, and 1 where it is at least the threshold, else 0, float64 [n].

    Without a detector: the largest probability, and NaN.
    """

    score: Tensor
    kept: Tensor


def has_features(calls: Calls) -> bool:
    """Whether the logits are made by one linear layer."""
    if isinstance(calls.classifier.network, Ensemble):
        return False
    try:
        calls.head()
    except InputError:
        return False
    return True


@forwards(1)
def last_layer(subject: Subject) -> LastLayer:
    """The one pass."""
    calls = subject.calls
    if not has_features(calls):
        logits = calls.logits(subject.images)
        return LastLayer(logits, logits)
    logits, features = calls.features(subject.images)
    return LastLayer(features, logits)


def detector_scores(subject: Subject, last_layer: LastLayer, detectors: Detectors) -> Mapping[str, Tensor]:
    """Of each fitted detector, float64 [n]."""
    calls = subject.calls
    return {name: last_layer.scores(one, calls.batch_size) for name, one in detectors.fitted(calls).items()}


def own_score(subject: Subject, last_layer: LastLayer, detectors: Detectors) -> OwnScore:
    """Of the checkpoint's own detector; what is kept is decided before anything is rounded."""
    rejector = detectors.own(subject.calls)
    if rejector is None:
        surest = last_layer.logits.double().softmax(1).amax(1)
        return OwnScore(surest, torch.full_like(surest, torch.nan))
    score = last_layer.scores(rejector.detector, subject.calls.batch_size)
    return OwnScore(score, torch.as_tensor(rejector.keeps(score)).to(score))


@forwards(2)
def odin_score(subject: Subject) -> Tensor:
    """ODIN's score, float64 [n]; NaN for several networks' mean."""
    calls = subject.calls
    if isinstance(calls.classifier.network, Ensemble):
        return torch.full((len(subject.images),), torch.nan, dtype=torch.float64, device=calls.device)
    (score,) = calls.each(lambda images: (odin(calls.classifier, images),), subject.images)
    calls.forwards += len(subject.images)  # it asks twice
    return score


QUERIES = (last_layer, detector_scores, own_score, odin_score)
