"""A classifier with one more output: how strongly its detector refuses a row, for whatever explains outputs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from xaicli.errors import InputError
from xaicli.models.classifier import Classifier
from xaicli.models.detectors.detector import Detector
from xaicli.models.head import Head
from xaicli.models.tracing import memo_of

_AGREEMENT = 1e-5  # of the largest logit, in float32


class Detecting(nn.Module):
    """Normalised images [N, C, H, W] -> [N, K + 1]: the network's logits, and the threshold less the detector's score.

    The last one is positive where the row is refused, and its gradient reaches the image through features and logits.
    body: from images to the features that `head` makes the logits of; to the logits where there is no head.
    """

    def __init__(self, body: nn.Module, head: nn.Linear | None, detector: Detector, threshold: float) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.detector, self.threshold = detector, threshold

    def forward(self, x: Tensor) -> Tensor:
        """The refusal is judged in float64, and rounded to the logits' type."""
        features = self.body(x)
        logits = features if self.head is None else self.head(features)
        refusal = self.threshold - self.detector.score(features, logits)
        return torch.cat([logits, refusal.to(logits.dtype).unsqueeze(1)], dim=1)


def detecting(classifier: Classifier, head: Head | None, detector: Detector, threshold: float, name: str) -> Classifier:
    """The classifier with a class of this name behind its own, for what is refused; it shares the weights.

    head: its last layer, for a detector that needs features. Raises InputError for a network that does more with the
    last layer's output than return it.
    """
    body, last = classifier.network, None
    if detector.needs_features and head is not None:
        body = _without(classifier.network, head)
        last = head.layer
    made = classifier.around(Detecting(body, last, detector, threshold))
    made.class_names = (*classifier.class_names, name)
    if last is not None and not _agrees(made, classifier):
        raise InputError(
            "the network does more with its last layer's output than return it, so its features cannot be told; "
            "train it with a detector that needs the logits alone, such as --detector energy."
        )
    return made


def _without(network: nn.Module, head: Head) -> nn.Module:
    """The network up to what its last layer is given."""
    if not head.name:
        return nn.Identity()
    body = copy.deepcopy(network, memo_of(network))
    owner, _, child = head.name.rpartition(".")
    setattr(body.get_submodule(owner), child, nn.Identity())
    return body


def _agrees(made: Classifier, classifier: Classifier) -> bool:
    noise = torch.randn(2, *classifier.shape, generator=torch.Generator().manual_seed(0)).to(classifier.mean)
    with torch.no_grad():
        expected = classifier(noise)
        try:
            found = made(noise)[:, :-1]
        except Exception:  # what a network's code raises when it is given features instead of logits
            return False
    return bool((found - expected).abs().max() <= _AGREEMENT * expected.abs().max())
