"""Recipes: each is the loss of one batch; its keyword-only options carry the recipe's hyper-parameters."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.run.plan import forwards
from xaicli.signatures import Count, NonNegative, Positive, Share
from xaicli.train.batch import Batch
from xaicli.train.weights import loss_of


def standard(
    batch: Batch,
    *,
    lr: Positive = 0.1,
    momentum: Share = 0.9,
    weight_decay: NonNegative = 5e-4,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "one-cycle",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    label_smoothing: Share = 0.0,
    mixup: NonNegative = 0.0,
    ema: Share = 0.0,
    canaries: int = 0,
) -> Tensor:
    """Cross-entropy with SGD, Nesterov momentum and a one-cycle learning rate (Smith and Topin, 2019).

    lr: peak learning rate. augment: auto is a random crop, with a flip for colour images. mixup: alpha of the Beta
    distribution (Zhang et al., 2018), 0 is off. ema: decay of the averaged weights that are kept, 0 is off. canaries:
    how many images get a random wrong label and are trained with or left out by the toss of a coin, for `evaluate -k
    audit` and `-k membership`. The epoch that is best on held-out data is kept.
    """
    images, labels, partner, share = batch.mixed(mixup)
    logits = batch.classifier(images)
    loss = cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if share == 1:
        return loss
    return share * loss + (1 - share) * cross_entropy(logits, partner, label_smoothing=label_smoothing)


@forwards(lambda steps, awp: steps + 1 + awp)
def adversarial(
    batch: Batch,
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative | None = None,
    step: Positive | None = None,
    steps: Count = 10,
    lr: Positive = 0.1,
    momentum: Share = 0.9,
    weight_decay: NonNegative = 5e-4,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "one-cycle",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    label_smoothing: Share = 0.0,
    awp: bool = False,
    ema: Share = 0.0,
) -> Tensor:
    """Cross-entropy on PGD examples that replace the whole batch (Madry et al., 2018).

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf and 0.5 for l2. step: auto is 2.5*eps/steps. Every
    step is taken on every sample from a random start, with BatchNorm in eval mode. awp: train at weights moved against
    the loss by 0.5 % of each layer's norm, after 5 % of the training. ema: decay of the averaged weights that are kept,
    0 is off. The epoch of the best robust accuracy on held-out data is kept.
    """
    attack = pgd(norm=norm, eps=eps, step=step, steps=steps)
    images = perturb(attack, batch.classifier, batch.images, batch.labels, batch.draw)
    return loss_of(
        lambda model: cross_entropy(model(images), batch.labels, label_smoothing=label_smoothing), batch, awp
    )
