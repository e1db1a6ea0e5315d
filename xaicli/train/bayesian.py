"""Training of Bayesian networks: the evidence lower bound, turned round and divided by the number of images."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.models.bayesian import kl_of
from xaicli.models.mean_field import drawing
from xaicli.models.prior import Gaussian, Prior, ScaleMixture
from xaicli.run.posterior import noise_of
from xaicli.signatures import NonNegative, Positive, Share
from xaicli.train.batch import Batch


def bayesian(
    batch: Batch,
    *,
    prior: Literal["normal", "mixture"] = "normal",
    scale: Positive = 1.0,
    sigma: Positive = 0.01,
    kl: NonNegative | None = None,
    lr: Positive = 0.01,
    schedule: Literal["one-cycle", "cosine", "cyclic", "piecewise", "constant"] = "one-cycle",
    augment: Literal["auto", "none", "crop", "crop-flip"] = "auto",
    ema: Share = 0.0,
) -> dict[str, Tensor]:
    """Cross-entropy of drawn weights plus KL/n, each weight a Gaussian of its own (Blundell et al., 2015).

    Linear layers and convolutions of any architecture get Gaussian weights; `bnn-mlp` has them already, with a sigma of
    its own. What comes out of them is drawn for every image, and for every place of a convolution, by itself (Kingma et
    al., 2015). prior: normal is N(0, scale^2), mixture half N(0, e^-2) and half N(0, e^-14), both times scale^2. sigma:
    every weight's deviation before training. kl: what the divergence from the prior counts; auto is 1/n for n training
    images, the bound on the evidence. A small data set wants less, a cold posterior (Wenzel et al., 2020): where
    weights outnumber images by far, the prior outweighs them. The optimiser is Adam, without weight decay, which the
    prior is. ema: decay of the averaged means and deviations that are kept, 0 is off. The history tells both terms. The
    epoch whose means are best on held-out data is kept.
    """
    return bound_of(batch, prior_of(prior, scale), kl_weight(kl, batch.rows))


def prior_of(name: str, scale: float) -> Prior:
    """The prior of that name."""
    mixture = ScaleMixture()
    return (
        Gaussian(scale)
        if name == "normal"
        else ScaleMixture(mixture.share, mixture.wide * scale, mixture.narrow * scale)
    )


def kl_weight(asked: float | None, rows: int) -> float:
    """What the divergence counts for each of n training images; 1/n if nothing else was asked."""
    return 1 / rows if asked is None else asked


def bound_of(batch: Batch, prior: Prior, weight: float) -> dict[str, Tensor]:
    """Mean `cross_entropy` of a batch, one draw for each image, and `kl`, the divergence KL(posterior, prior) * weight.

    Both in nats per image. weight: 1/n, n being the number of training images, whatever the batch's size: the
    divergence counts once in an epoch, not once in every batch, and the mean of the sum over an epoch's images is the
    bound on -log evidence, per image (Blundell et al., 2015; Kingma et al., 2015). Draws belong to the batch's stream,
    that is to seed, epoch and image; the one set of weights at which a mixture's divergence is measured belongs to the
    first of its images.
    """
    stream = batch.stream.fork("posterior")
    with drawing(batch.classifier, noise_of(stream, batch.images)):
        logits = batch.classifier(batch.images)
    kl = kl_of(batch.classifier, prior, noise_of(stream.row(0, "prior"), batch.images))
    return {"cross_entropy": cross_entropy(logits, batch.labels), "kl": kl * weight}
