"""Pointing game and relevance mass on maps drawn by hand."""

from __future__ import annotations

import numpy as np
import torch

from tests.evaluate.questions import answers_of, value
from tests.nets import linear

NET = linear(torch.ones(2, 1, 2, 3, dtype=torch.float64))
MASK = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=torch.bool)


def score(metric: str, *maps: list[list[float]], mask: torch.Tensor = MASK, seed: int = 0) -> np.ndarray:
    phi = torch.tensor(maps, dtype=torch.float64)
    images = torch.zeros(len(phi), 1, 2, 3, dtype=torch.float64)
    masks = mask.expand(len(phi), 2, 3)
    return value(metric, answers_of(NET, images, phi, mask=masks, seed=seed))


def test_the_maximum_on_the_object_is_a_hit() -> None:
    found = score("pointing-game", [[0, 3, 1], [2, 2, 2]], [[0, 3, 1], [2, 4, 2]], [[-1, -2, -3], [-4, -5, -6]])
    assert found.tolist() == [1, 0, 1]


def test_a_constant_map_and_an_empty_mask_are_not_counted() -> None:
    assert np.isnan(score("pointing-game", [[2, 2, 2], [2, 2, 2]])).all()
    assert np.isnan(score("pointing-game", [[0, 3, 1], [2, 2, 2]], mask=torch.zeros_like(MASK))).all()
    assert np.isnan(score("relevance-mass", [[0, 3, 1], [2, 2, 2]], mask=torch.zeros_like(MASK))).all()


def test_ties_for_the_maximum_are_broken_by_the_seed() -> None:
    hits = [score("pointing-game", [[5, 0, 0], [5, 0, 0]], seed=seed)[0] for seed in range(200)]
    assert 70 < sum(hits) < 130  # a fair coin: seven standard deviations are 49


def test_relevance_mass_is_the_share_of_what_is_positive() -> None:
    found = score("relevance-mass", [[1, 2, -5], [4, -1, 1]], [[-1, -1, 0], [3, 0, 0]], [[-1, 0, 0], [0, 0, -1]])
    assert found[:2].tolist() == [3 / 8, 0]
    assert np.isnan(found[2])
