"""The recipe of Monte Carlo dropout."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from xaicli.signatures import NonNegative, Positive, Share
from xaicli.train.batch import Batch
from xaicli.train.recipes import standard


def mc_dropout(
    batch: Batch,
    *,
    p: Share = 0.1,
    lr: Positive = 0.1,
    momentum: Share = 0.9,
    weight_decay: NonNegative = 5e-4,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "one-cycle",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    label_smoothing: Share = 0.0,
    mixup: NonNegative = 0.0,
    ema: Share = 0.0,
) -> Tensor:
    """`standard` with dropout that goes on when the network is asked (Gal and Ghahramani, 2016).

    p: the probability of being dropped, below 1, of every unit that a linear layer is given, and of every channel that
    a convolution is given; the first layer gets its whole image. A draw leaves out the same units for all images. All
    other options are those of `standard`. The epoch that is best on held-out data, with all units, is kept.
    """
    return standard(batch, label_smoothing=label_smoothing, mixup=mixup)
