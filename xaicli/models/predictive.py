"""What several draws of a network's logits say together: the mean prediction and two kinds of uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Predictive:
    """The predictive distribution of n images, float64; entropies are in nats, from 0 to log K."""

    probability: Tensor  # [n, K], mean over the draws
    entropy: Tensor  # [n], of that mean: all uncertainty there is
    mutual_information: Tensor  # [n], between class and weights: the part of it that more data could take away


def predictive(logits: Tensor) -> Predictive:
    """The mean of the draws' probabilities, its entropy, and by how much that is more than the draws' own.

    logits: [D, n, K], of D draws; minus infinity is a probability of 0. The mutual information is the entropy of the
    mean less the mean of the entropies (Houlsby et al., 2011), never negative.
    """
    logs = logits.double().log_softmax(2)
    mean = logs.logsumexp(0) - math.log(len(logs))
    entropy = _entropy(mean)
    return Predictive(mean.exp(), entropy, (entropy - _entropy(logs).mean(0)).clamp_min(0))


def _entropy(logs: Tensor) -> Tensor:
    """In nats, over the last axis, of log probabilities; what is impossible counts for nothing."""
    shares = logs.exp()
    return -torch.where(shares > 0, shares * logs, 0.0).sum(-1)
