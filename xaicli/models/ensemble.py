"""Several networks that answer as one, by the mean of what they predict."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Ordinary networks from images [N, C, H, W] to logits [N, K], kept in `networks`.

    Its own logits are the logarithms of their mean probabilities, so that softmax gives the predictive mean
    (Lakshminarayanan et al., 2017) and a gradient through it is that of the mean prediction and not of any one
    network's: expectation over transformation (Athalye et al., 2018).
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> log of the mean over the networks of softmax, [N, K], added up without underflow."""
        logs = torch.stack([network(x).log_softmax(1) for network in self.networks])
        return logs.logsumexp(0) - math.log(len(self.networks))
