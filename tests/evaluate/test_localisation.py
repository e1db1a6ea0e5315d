"""Metrics against masks, on maps drawn by hand and from their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

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


MAPS = torch.randn(30, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).round(decimals=0)  # ties


def test_relevance_rank_looks_at_as_many_pixels_as_the_object_has() -> None:
    found = score("relevance-rank", [[9, 1, 2], [8, -7, 0]], [[9, 8, 2], [0, 0, 0]], [[-9, -8, 2], [0, 3, 1]])
    assert found.tolist() == [1 / 2, 1, 0]


def test_top_k_counts_a_share_of_all_pixels() -> None:
    maps = [[9, 1, 2], [8, -7, 0]], [[9, 8, 2], [0, 0, 0]], [[-9, -8, 2], [0, 3, 1]]
    assert score("top-k-intersection", *maps).tolist() == [1, 1, 0]
    assert score("top-k-intersection:share=0.5", *maps).tolist() == [1 / 3, 2 / 3, 0]
    assert score("top-k-intersection:share=1", *maps).tolist() == [1 / 3] * 3


def test_localisation_auc_is_the_chance_of_the_right_order() -> None:
    found = score("localisation-auc", *MAPS.tolist())
    inside = MASK.flatten()
    for map_, auc in zip(MAPS.flatten(1), found, strict=True):
        pairs = [(a > b) + 0.5 * (a == b) for a in map_[inside] for b in map_[~inside]]
        assert auc == pytest.approx(np.mean([float(pair) for pair in pairs]), abs=1e-14)
        assert auc == pytest.approx(roc_auc_score(inside.numpy(), map_.numpy()), abs=1e-12)
    assert score("localisation-auc", [[2, 2, 2], [2, 2, 2]]).tolist() == [0.5]


@pytest.mark.parametrize("metric", ["relevance-rank", "top-k-intersection", "localisation-auc"])
def test_an_empty_mask_is_undefined(metric: str) -> None:
    assert np.isnan(score(metric, [[0, 3, 1], [2, 2, 2]], mask=torch.zeros_like(MASK))).all()
    whole = score(metric, [[0, 3, 1], [2, 2, 2]], mask=torch.ones_like(MASK))
    assert whole == pytest.approx([np.nan if metric == "localisation-auc" else 1], nan_ok=True)


def test_ties_on_the_edge_of_the_ranking_are_broken_by_the_seed() -> None:
    hits = [score("relevance-rank", [[0, 0, 0], [0, 0, 0]], seed=seed)[0] for seed in range(300)]
    assert abs(np.mean(hits) - 1 / 3) < 5 * np.sqrt(0.09 / 300)  # 2 of 6 pixels, drawn without replacement
