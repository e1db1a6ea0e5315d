"""TRADES and MART: the clean images stay in the loss, and predictions are to move little under attack."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.run.calls import evaluating
from xaicli.run.plan import forwards
from xaicli.signatures import Count, NonNegative, Positive, Share
from xaicli.train.batch import Batch
from xaicli.train.divergence import divergence, from_nearby, slope_from
from xaicli.train.weights import Ask, loss_of


@forwards(lambda steps, awp: 1 + steps + 2 * (1 + awp))
def trades(
    batch: Batch,
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative | None = None,
    step: Positive | None = None,
    steps: Count = 10,
    beta: NonNegative = 6.0,
    lr: Positive = 0.1,
    momentum: Share = 0.9,
    weight_decay: NonNegative = 5e-4,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "one-cycle",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    awp: bool = False,
    ema: Share = 0.0,
) -> Tensor:
    """Cross-entropy on clean images, plus beta times how far an attack moves predictions (Zhang et al., 2019).

    The attack raises KL(p(x), p(x')) by PGD from x + 0.001 N(0, 1), BatchNorm in eval mode. eps: radius in pixel values
    of [0, 1]; auto is 8/255 for linf and 0.5 for l2. step: auto is 2.5*eps/steps. awp: train at weights moved against
    the loss by 0.5 % of each layer's norm, after 5 % of the training. ema: decay of the averaged weights that are kept,
    0 is off. The epoch of the best robust accuracy on held-out data is kept.
    """
    attack = from_nearby(pgd(norm=norm, eps=eps, step=step, steps=steps))
    with evaluating(batch.classifier), torch.no_grad():
        rise = slope_from(batch.classifier(batch.images))
    images = perturb(attack, batch.classifier, batch.images, batch.labels, batch.draw, rise)

    def loss(model: Ask) -> Tensor:
        clean, attacked = model(batch.images), model(images)
        return cross_entropy(clean, batch.labels) + beta * divergence(clean, attacked).mean()

    return loss_of(loss, batch, awp)


@forwards(lambda steps, awp: steps + 2 * (1 + awp))
def mart(
    batch: Batch,
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative | None = None,
    step: Positive | None = None,
    steps: Count = 10,
    beta: NonNegative = 5.0,
    lr: Positive = 0.1,
    momentum: Share = 0.9,
    weight_decay: NonNegative = 5e-4,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "one-cycle",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    awp: bool = False,
    ema: Share = 0.0,
) -> Tensor:
    """Boosted cross-entropy on PGD examples, plus how far they move predictions that are unsure (Wang et al., 2020).

    The loss is -log p_y(x') - log(1 - max_k p_k(x')) over the other classes k, plus beta (1 - p_y(x)) KL(p(x), p(x')).
    The attack raises the cross-entropy from x + 0.001 N(0, 1), BatchNorm in eval mode. eps: radius in pixel values of
    [0, 1]; auto is 8/255 for linf and 0.5 for l2. step: auto is 2.5*eps/steps. awp: train at weights moved against the
    loss by 0.5 % of each layer's norm, after 5 % of the training. ema: decay of the averaged weights that are kept, 0
    is off. The epoch of the best robust accuracy on held-out data is kept.
    """
    attack = from_nearby(pgd(norm=norm, eps=eps, step=step, steps=steps))
    images = perturb(attack, batch.classifier, batch.images, batch.labels, batch.draw)

    def loss(model: Ask) -> Tensor:
        clean, attacked = model(batch.images), model(images)
        misjudged = log_rest(clean, batch.labels).exp()
        return (boosted(attacked, batch.labels) + beta * misjudged * divergence(clean, attacked)).mean()

    return loss_of(loss, batch, awp)


def boosted(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y - log(1 - max_k p_k) over the classes k other than y, for logits [n, K], as [n]."""
    others = logits.detach().scatter(1, labels.unsqueeze(1), float("-inf"))
    return cross_entropy(logits, labels, reduction="none") - log_rest(logits, others.argmax(1))


def log_rest(logits: Tensor, chosen: Tensor) -> Tensor:
    """log(1 - p_chosen) as [n]: the logarithm of what all other classes have, without taking one from one."""
    return logits.log_softmax(1).scatter(1, chosen.unsqueeze(1), float("-inf")).logsumexp(1)
