from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaicli.data.dataset import UNKNOWN
from xaicli.models.classifier import Classifier
from xaicli.run.clean import Accuracy, checked_rows, clean_accuracy
from xaicli.run.settings import Settings


@pytest.mark.parametrize(
    ("hits", "n", "classes", "expected"),
    [
        (10, 10, 2, False),  # 2**-10 < 1e-3
        (9, 10, 2, True),  # 11 * 2**-10
        (9, 9, 2, False),  # 2**-9: all right would not be enough, so nothing is said
        (0, 9, 2, False),
        (0, 10, 2, True),
        (1, 20, 1000, True),  # 1 - .999**20 = 0.0198
        (2, 20, 1000, False),  # 190 * 1e-6, about
        (0, 0, 10, False),
        (5, 5, 1, False),
        (100, 1000, 10, True),
        (130, 1000, 10, True),  # 2 in 1,000
        (135, 1000, 10, False),
    ],
)
def test_chance_is_an_exact_binomial_test(hits: int, n: int, classes: int, expected: bool) -> None:
    assert Accuracy(hits, n, classes).at_chance is expected


class ByPixel(nn.Module):
    """Class b when the first pixel is bright; dislikes training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        return torch.stack([0.5 * self.one.expand(len(x)), x[:, 0, 0, 0]], 1)


def test_rows_that_cannot_be_judged_do_not_count(plain_data: Callable[..., Any]) -> None:
    data = plain_data(70)
    labels = (data.pixels[:, 0, 0, 0] > 0.5).astype(np.int64)
    labels[:10] = 1 - labels[:10]
    labels[10:15] = UNKNOWN
    readable = np.arange(70) >= 3
    classifier = Classifier(ByPixel(), [0.0], [1.0], ["a", "b"], (1, 3, 3)).train()
    settings = Settings(device="cpu", batch_size=16)
    data = replace(data, labels=labels, readable=readable)
    assert clean_accuracy(classifier, checked_rows(data, settings), settings) == Accuracy(55, 62, 2)
    assert classifier.training


def test_at_most_a_thousand_rows_unless_more_are_asked_for(plain_data: Callable[..., Any]) -> None:
    data = plain_data(1200)
    assert len(checked_rows(data, Settings())) == 1000
    assert len(checked_rows(data, Settings(limit=1100))) == 1100
    assert set(checked_rows(data, Settings(limit=50)).positions) < set(checked_rows(data, Settings()).positions)
