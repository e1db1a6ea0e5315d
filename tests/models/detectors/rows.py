"""Rows of features that a last layer tells apart, and others that it has never seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xaicli.models.detectors.known import Known, known_rows
from xaicli.models.head import Head

CLASSES, WIDTH = 4, 12


def some_known(rows: int = 400, *, noise: float = 0.5) -> Known:
    """Features after a ReLU, float32, around one centre per class, all of them told rightly."""
    generator = torch.Generator().manual_seed(1)
    layer = nn.Linear(WIDTH, CLASSES)
    drawn = torch.randn(CLASSES, WIDTH, generator=generator)
    layer.weight.data = drawn - drawn.mean(1, keepdim=True)  # so that what all centres share says nothing
    layer.bias.data = torch.randn(CLASSES, generator=generator)
    labels = torch.arange(rows) % CLASSES
    centres = 1 + layer.weight.data[labels]
    features = (centres + noise * torch.randn(rows, WIDTH, generator=generator)).relu()
    logits = layer(features).detach()
    right = logits.argmax(1) == labels
    return known_rows(features[right], logits[right], labels[right], Head("last", layer))


def asked(known: Known, rows: int = 60) -> tuple[Tensor, Tensor]:
    """Features float32 and logits, both of rows like the known ones and of others."""
    generator = torch.Generator().manual_seed(2)
    strange = 2 * torch.rand(rows // 2, WIDTH, generator=generator)
    near = known.features[: rows // 2] + 0.1 * torch.rand(rows // 2, WIDTH, generator=generator)
    features = torch.cat([strange, near])
    return features, features @ known.weight.T + known.bias
