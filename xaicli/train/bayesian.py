"""The loss of a Bayesian network: the evidence lower bound, turned round and divided by the number of images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.models.bayesian import kl_of
from xaicli.models.mean_field import drawing
from xaicli.models.prior import Prior
from xaicli.run.posterior import noise_of
from xaicli.train.batch import Batch


@dataclass(frozen=True, eq=False)
class Bound:
    """The two terms of the loss, in nats per image, each one number with its gradient."""

    cross_entropy: Tensor  # mean over the batch, one draw for each image
    divergence: Tensor  # KL(posterior, prior) / n

    @property
    def loss(self) -> Tensor:
        """Their sum, of which the mean over an epoch's images is the bound on -log evidence, per image."""
        return self.cross_entropy + self.divergence


def bound_of(batch: Batch, prior: Prior, rows: int) -> Bound:
    """Mean cross-entropy of a batch plus KL/n (Blundell et al., 2015; Kingma et al., 2015).

    rows: n, the number of training images, whatever the batch's size: the divergence counts once in an epoch, not once
    in every batch. Draws belong to the batch's stream, that is to seed, epoch and image; the one set of weights at
    which a mixture's divergence is measured belongs to the first of its images.
    """
    stream = batch.stream.fork("posterior")
    with drawing(batch.classifier, noise_of(stream, batch.images)):
        logits = batch.classifier(batch.images)
    kl = kl_of(batch.classifier, prior, noise_of(stream.row(0, "prior"), batch.images))
    return Bound(cross_entropy(logits, batch.labels), kl / rows)
