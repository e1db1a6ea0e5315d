"""The recipe of private training: a loss for every image, which the loop clips, adds up and hides in noise."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.run.plan import forwards
from xaicli.signatures import Count, NonNegative, Positive, Share
from xaicli.train.batch import Batch


@forwards(lambda multiplicity, norm, steps: multiplicity * (1 + steps * (norm != "none")))
def private(
    batch: Batch,
    *,
    epsilon: Positive | None = None,
    delta: Positive | None = None,
    max_grad_norm: Positive = 1.0,
    noise_multiplier: NonNegative | None = None,
    accountant: Literal["prv", "rdp"] = "prv",
    multiplicity: Count = 1,
    norm: Literal["none", "linf", "l2"] = "none",
    eps: NonNegative | None = None,
    step: Positive | None = None,
    steps: Count = 10,
    lr: Positive = 2.0,
    momentum: Share = 0.0,
    weight_decay: NonNegative = 0.0,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "constant",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "none",
    ema: Share = 0.9,
    canaries: int = 0,
    noise: Literal["secret", "seeded"] = "secret",
) -> Tensor:
    """DP-SGD: clipped gradients of single images under noise, drawn independently (Abadi et al., 2016).

    Every image is in a batch with probability B/n, B being --batch-size (256); its gradient is clipped to max_grad_norm
    in l2, and N(0, 1) times noise_multiplier times max_grad_norm is added to their sum before it is divided by B.
    epsilon: the noise is solved for; auto is 3, or what noise_multiplier comes to; with both, training stops at the
    budget. delta: auto is the power of ten at or below n^-1.1. accountant: prv is tight, rdp an older upper bound.
    multiplicity: augmentations of each image whose gradients are averaged before clipping (De et al., 2022); they count
    for --physical-batch. norm: train on PGD examples within eps, with step and steps as in `adversarial`. ema: decay of
    the averaged weights that are kept, 0 is off. canaries: how many images get a random wrong label and are trained
    with or left out by the toss of a coin, for `evaluate -k audit` and `-k membership`. noise: secret is the operating
    system's, seeded repeatable and private only while the seed is. BatchNorm becomes GroupNorm, dropout is left out,
    and the last weights are kept: choosing an epoch would not be covered.
    """
    images = batch.images
    if norm != "none":
        attack = pgd(norm=norm, eps=eps, step=step, steps=steps)
        images = perturb(attack, batch.classifier, images, batch.labels, batch.draw)
    return cross_entropy(batch.classifier(images), batch.labels, reduction="none")
