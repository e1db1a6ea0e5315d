"""The recipe of deep ensembles: several networks in one training and one checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from xaicli.models.classifier import Classifier
from xaicli.models.ensemble import Ensemble
from xaicli.run.plan import forwards
from xaicli.signatures import Count, NonNegative, Positive, Share
from xaicli.train.batch import Batch
from xaicli.train.precision import Bf16
from xaicli.train.recipes import standard


@forwards(lambda k: k)
def ensemble(
    batch: Batch,
    *,
    k: Count = 5,
    lr: Positive = 0.1,
    momentum: Share = 0.9,
    weight_decay: NonNegative = 5e-4,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "one-cycle",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    label_smoothing: Share = 0.0,
    mixup: NonNegative = 0.0,
    ema: Share = 0.0,
) -> Tensor:
    """`standard` for k networks of different first weights, whose mean predicts (Lakshminarayanan et al., 2017).

    All see the same batches. The loss is the sum of theirs, so that each learns as it would alone. All other options
    are those of `standard`. The epoch whose mean prediction is best on held-out data is kept.
    """
    losses = [
        standard(replace(batch, classifier=member), label_smoothing=label_smoothing, mixup=mixup)
        for member in members_of(batch.classifier)
    ]
    return torch.stack(losses).sum()


def members_of(model: nn.Module) -> list[nn.Module]:
    """The networks of an ensemble's classifier, each asked as the whole is."""
    if isinstance(model, Bf16):
        return [Bf16(member) for member in members_of(model.classifier)]
    assert isinstance(model, Classifier) and isinstance(model.network, Ensemble)
    return [model.around(network) for network in model.network.networks]
