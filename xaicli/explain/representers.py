"""Which training images a prediction rests on: representer points of the refitted last layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.errors import UsageError
from xaicli.explain.block import Block
from xaicli.explain.explanation import Figure, Found, stores
from xaicli.explain.figures import correlation
from xaicli.explain.last_layer import FeaturePass
from xaicli.explain.quantity import NONE
from xaicli.explain.refit import CHUNK, Refit, augmented, refit
from xaicli.run.calls import Answer
from xaicli.run.features import Training
from xaicli.signatures import Count, Positive

NUMBERS = Figure("<u8", lambda k: (k,))
VALUES = Figure("<f4", lambda k: (k,))
LABELS = Figure("<u2", lambda k: (k,))
LOGITS = Figure("<f4", lambda classes: (classes,))
ROW = Figure("<f4", lambda: ())


@dataclass(frozen=True)
class LastLayer:
    """The refitted last layer and the training images it is a sum over."""

    training: Training
    refit: Refit
    fidelity: float  # correlation of its logits with the network's over the training images


@dataclass(frozen=True)
class Extremes:
    """The k training images of largest (smallest) value for each row."""

    position: Tensor  # int64 [n, k], among the training images
    value: Tensor  # float64 [n, k]


@dataclass(frozen=True)
class Sums:
    """What the training images add up to for each row."""

    exciting: Extremes
    inhibiting: Extremes
    refitted: Tensor  # float64 [n, K], logits of the refitted layer
    identity_error: Tensor  # float64 [n], largest gap of the sum over training images, relative to the largest logit


def last_layer(block: Block, *, regularisation: float = 0.003) -> LastLayer:
    """The last layer refitted on all training images, once a run."""
    if block.quantity != "logit":
        raise UsageError(f"representer explains logits, not --quantity {block.quantity}; leave --quantity out.")

    def fit() -> LastLayer:
        training = block.background.training(block.calls)
        features = training.features.to(block.calls.device)
        logits = training.logits.to(block.calls.device).double()
        found = refit(features, logits.softmax(1), regularisation)
        parts = (features[start : start + CHUNK] for start in range(0, len(features), CHUNK))
        own = torch.cat([augmented(part) @ found.weights.T for part in parts])
        return LastLayer(training, found, correlation(own.cpu().numpy(), logits.cpu().numpy()))

    return block.background.once(("last layer", regularisation), fit)


def training_sums(block: Block, feature_pass: FeaturePass, last_layer: LastLayer, *, k: int = 5) -> Sums:
    """Every training image's value for every row, streamed: only the extremes and the sums are kept."""
    found, features = last_layer.refit, last_layer.training.features.to(block.calls.device)
    if k > len(features):
        raise UsageError(f"representer:k={k} is more than the {len(features)} training images; use a smaller k.")

    def ask(rows: Tensor, target: Tensor, against: Tensor) -> Answer:
        x = augmented(rows)
        refitted = x @ found.weights.T
        rebuilt = torch.zeros_like(refitted)
        best, worst = _nothing(x), _nothing(x)
        for start in range(0, len(features), CHUNK):
            inner = x @ augmented(features[start : start + CHUNK]).T
            alpha = found.alpha[start : start + CHUNK]
            rebuilt += inner @ alpha
            value = inner * _of_class(alpha, target, against)
            best, worst = _merged(best, value, start, k, True), _merged(worst, value, start, k, False)
        largest = refitted.abs().amax(1)
        error = (refitted - rebuilt).abs().amax(1) / torch.where(largest > 0, largest, 1)
        return best.position, best.value, worst.position, worst.value, refitted, error

    # like a model call, of a fixed number of rows: no bit depends on how many come along
    answers = block.calls.apart().each(ask, feature_pass.features, feature_pass.target, feature_pass.against)
    return Sums(Extremes(*answers[:2]), Extremes(*answers[2:4]), *answers[4:])


def _of_class(alpha: Tensor, target: Tensor, against: Tensor) -> Tensor:
    """Each row's alphas [b, m] for its class, less those of its contrast; an unknown class fails elsewhere."""
    classes = alpha.shape[1]
    chosen = alpha.T[torch.where(target < classes, target, 0)]
    contrast = alpha.T[torch.where(against < classes, against, 0)]
    return torch.where((against == NONE).unsqueeze(1), chosen, chosen - contrast)


def _nothing(x: Tensor) -> Extremes:
    return Extremes(torch.zeros(len(x), 0, dtype=torch.int64, device=x.device), x.new_zeros(len(x), 0))


def _merged(known: Extremes, value: Tensor, start: int, k: int, largest: bool) -> Extremes:
    """The extremes of those known and of the next values [b, m]."""
    fresh, where = value.topk(min(k, value.shape[1]), dim=1, largest=largest)
    values = torch.cat([known.value, fresh], dim=1)
    order = values.sort(dim=1, descending=largest, stable=True).indices[:, :k]
    return Extremes(torch.cat([known.position, where + start], dim=1).gather(1, order), values.gather(1, order))


@stores(
    "representer",
    exciting=NUMBERS,
    exciting_value=VALUES,
    exciting_label=LABELS,
    inhibiting=NUMBERS,
    inhibiting_value=VALUES,
    inhibiting_label=LABELS,
    refitted=LOGITS,
    identity_error=ROW,
    training_fidelity=ROW,
)
def representer(training_sums: Sums, last_layer: LastLayer, *, k: Count = 5, regularisation: Positive = 0.003) -> Found:
    """Representer points: the training images that a logit is a sum over (Yeh et al., 2018).

    The last layer is fitted again to the network's own probabilities p over all n training images, with the penalty
    `regularisation` * norm([weights, bias])^2 (torch's weight_decay is twice that), until its gradient is zero. Its
    logit of class c for features f_x is then sum_i alpha_ic <f_i, f_x>, alpha = (p - s) / (2 n regularisation), with s
    the refitted probabilities and a constant 1 behind all features. With a contrast (--target cat,dog), alpha is the
    difference of the two.

    The store, of the kind representer, has no maps. It holds for every row the `k` training images of largest value
    (`exciting`: they speak for the class) and of smallest (`inhibiting`): rows in the training data [n, k], values in
    units of the logit, labels; which data that is stands in the attribute `training`. Two figures say how far to trust
    them: `identity_error` [n], the largest gap of the sum relative to the largest logit, and the fidelity of the
    refitted layer, its logits' correlation with the network's (each image's logits less their mean, which probabilities
    do not depend on), over the training images and over the rows explained; `refitted` [n, K] are its logits. A low
    fidelity means that the images explain another layer than the network's own: then a smaller regularisation may help.

    Training features are computed in the run, or taken from a features store among the SOURCEs, with the same bytes.
    """
    training, best, worst = last_layer.training, training_sums.exciting, training_sums.inhibiting
    at, below = best.position.to(training.index.device), worst.position.to(training.index.device)
    return Found(
        {
            "exciting": training.index[at],
            "exciting_value": best.value,
            "exciting_label": training.labels[at],
            "inhibiting": training.index[below],
            "inhibiting_value": worst.value,
            "inhibiting_label": training.labels[below],
            "refitted": training_sums.refitted,
            "identity_error": training_sums.identity_error,
            "training_fidelity": torch.full_like(training_sums.identity_error, last_layer.fidelity),
        }
    )


QUERIES = (last_layer, training_sums)
