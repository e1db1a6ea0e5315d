"""A classifier made ready for private training, the way it will go, and what its checkpoint will say of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xaicli.errors import InputError, UsageError
from xaicli.files.checkpoint import CheckpointMeta
from xaicli.models.classifier import Classifier
from xaicli.train.canaries import Canaries
from xaicli.train.private.budget import Budget
from xaicli.train.private.network import unmix
from xaicli.train.private.noisy import Noisy, Poisson
from xaicli.train.private.record import privacy_record
from xaicli.train.private.secret import Secret
from xaicli.train.way import Way


@dataclass(frozen=True)
class Start:
    """`replaced`: names of the BatchNorms that became GroupNorms. `record`: the checkpoint's `privacy`."""

    way: Way
    replaced: tuple[str, ...]
    record: dict[str, Any]


def start_private(
    classifier: Classifier,
    budget: Budget,
    secret: Secret,
    copies: int,
    canaries: Canaries | None,
    source: CheckpointMeta | None,
) -> Start:
    """Change the classifier in place where it must; its last weights will be kept, for choosing is not covered.

    copies: augmentations of an image. source: of the checkpoint that the classifier comes from. Raises UsageError for
    a network that cannot be trained privately.
    """
    replaced = tuple(unmix(classifier, pretrained=source is not None))
    try:
        gradients = Noisy(classifier, budget, secret, copies)
    except InputError as error:  # no file is to blame, but the wish to train this network so
        raise UsageError(str(error)) from None
    way = Way(Poisson(budget, secret), gradients, keep_last=True)
    return Start(way, replaced, privacy_record(budget, secret, replaced, canaries, source))
