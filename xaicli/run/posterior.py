"""Draws from a Bayesian network that belong to a job: by image and draw, or one set of weights for all images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from xaicli.models.bayesian import plain
from xaicli.models.classifier import Classifier
from xaicli.models.mean_field import Noise
from xaicli.run.random import Stream


def noise_of(stream: Stream, like: Tensor) -> Noise:
    """Numbers of this stream, one set for each of its rows, with the device and type of a tensor."""

    def noise(name: str, shape: Sequence[int]) -> Tensor:
        return torch.as_tensor(stream.fork(name).normal(shape)).to(like)

    return noise


def posterior_draw(classifier: Classifier, seed: int, draw: int) -> Classifier:
    """An ordinary classifier with weights from the posterior: draw 0, 1, ... of the stream `posterior`.

    Its weights depend on seed, draw and layer alone. All images share them, so that every answer of a draw, whichever
    method asked and in however large batches, is one function's; two draws are two independent ones.
    """
    return cast(Classifier, plain(classifier, noise_of(Stream(seed, "posterior", (draw,)), classifier.mean)))
