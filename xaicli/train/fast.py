"""Robust training at the price of one gradient: FGSM from a random start, and replays that share their backward."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.attack.gradient import pgd
from xaicli.attack.norms import DEFAULT_EPS, project
from xaicli.attack.perturb import perturb
from xaicli.run.plan import forwards
from xaicli.signatures import Count, NonNegative, Positive, Share
from xaicli.train.batch import Batch
from xaicli.train.weights import loss_of

OVERSHOOT = 1.25  # of the radius: a step that reaches the other side from most starts (Wong et al., 2020)


@forwards(lambda awp: 2 + awp)
def fast(
    batch: Batch,
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative | None = None,
    step: Positive | None = None,
    lr: Positive = 0.2,
    momentum: Share = 0.9,
    weight_decay: NonNegative = 5e-4,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "cyclic",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    label_smoothing: Share = 0.0,
    awp: bool = False,
    ema: Share = 0.0,
    watchdog: bool = True,
) -> Tensor:
    """Cross-entropy on FGSM examples from a random start, with a cyclic learning rate (Wong et al., 2020).

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf and 0.5 for l2. step: auto is 1.25*eps. awp: train at
    weights moved against the loss by 0.5 % of each layer's norm, after 5 % of the training. ema: decay of the averaged
    weights that are kept, 0 is off. watchdog: after each epoch PGD-5 attacks held-out rows; when their accuracy has
    dropped by more than 20 points, the state before the epoch is put back, and from then on the attack takes one step
    more, all of them together as long as before. The epoch of the best accuracy under PGD-10 on held-out data is kept.
    """
    steps = 1 + batch.rollbacks
    reach = OVERSHOOT * (DEFAULT_EPS[norm] if eps is None else eps) if step is None else step
    attack = pgd(norm=norm, eps=eps, step=reach / steps, steps=steps)
    images = perturb(attack, batch.classifier, batch.images, batch.labels, batch.draw)
    return loss_of(
        lambda model: cross_entropy(model(images), batch.labels, label_smoothing=label_smoothing), batch, awp
    )


@forwards(lambda replays, awp: replays * (1 + awp))
def free(
    batch: Batch,
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: NonNegative | None = None,
    step: Positive | None = None,
    replays: Count = 8,
    lr: Positive = 0.04,
    momentum: Share = 0.9,
    weight_decay: NonNegative = 5e-4,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "cyclic",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    label_smoothing: Share = 0.0,
    awp: bool = False,
    ema: Share = 0.0,
    watchdog: bool = True,
) -> Tensor:
    """Every batch several times over, each backward moving the weights and the perturbation (Shafahi et al., 2019).

    replays: of a batch; an epoch has as many times more updates and takes as much longer, so fewer epochs do. The
    perturbation goes on from batch to batch. eps: radius in pixel values of [0, 1]; auto is 8/255 for linf and 0.5 for
    l2. step: auto is eps. awp: train at weights moved against the loss by 0.5 % of each layer's norm, after 5 % of the
    training. ema: decay of the averaged weights that are kept, 0 is off. watchdog: after each epoch PGD-5 attacks
    held-out rows; when their accuracy has dropped by more than 20 points, the state before the epoch is put back, and
    the step is a half of what it was, then a third. The epoch of the best accuracy under PGD-10 on held-out data is
    kept.
    """
    radius = DEFAULT_EPS[norm] if eps is None else eps
    attack = pgd(norm=norm, eps=eps, step=(radius if step is None else step) / (1 + batch.rollbacks))
    kept = torch.zeros_like(batch.images) if batch.kept is None else batch.kept
    points = project(batch.images + kept, batch.images, radius, norm).requires_grad_()

    def follow(gradient: Tensor) -> None:
        moved = attack.move(points.detach(), batch.images, gradient.contiguous(), batch.draw)
        kept.copy_(moved - batch.images)

    points.register_hook(follow)  # type: ignore[no-untyped-call]
    return loss_of(
        lambda model: cross_entropy(model(points), batch.labels, label_smoothing=label_smoothing), batch, awp
    )
