"""Cells and their order: patches, superpixels, ties, and the images that a walk goes through."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, value
from tests.nets import linear, small_net, some_images
from xaicli.evaluate.metric import name_metrics, planned_forwards
from xaicli.evaluate.walks import points
from xaicli.specs import parse_spec

NET = small_net(side=8)
IMAGES = some_images(3, NET)
MAPS = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
CUTS = [{"grid": 1}, {"grid": 3}, {"grid": 8}, {"grid": 100}, {"segments": 6}, {}]


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_places_are_a_permutation_of_the_cells_by_their_sums_or_means(cut: dict[str, int], pool: str) -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    ranks, pieces = answers.ask("ranks", {**cut, "pool": pool}), answers.ask("pieces", cut)
    for row in range(3):
        places = ranks.places[row].long().flatten()
        labels = torch.arange(64) if pieces is None else pieces[row]
        assert places.unique().tolist() == list(range(int(ranks.cells[row])))
        assert len({*zip(places.tolist(), labels.tolist(), strict=True)}) == int(ranks.cells[row]) == labels.max() + 1
        values = [MAPS[row].flatten()[places == place] for place in range(int(ranks.cells[row]))]
        pooled = [part.sum().item() if pool == "sum" else part.mean().item() for part in values]
        assert pooled == sorted(pooled, reverse=True)


def test_as_many_patches_as_pixels_are_the_pixels() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    pixels = answers.ask("ranks", {}).places
    assert torch.equal(answers.ask("ranks", {"grid": 8}).places, pixels)
    assert value("aopc:grid=8", answers) == pytest.approx(value("aopc", answers), abs=1e-12)


def test_patches_of_an_image_that_is_not_square_differ_by_a_pixel_at_most() -> None:
    net = linear(torch.ones(2, 1, 5, 7, dtype=torch.float64))
    pieces = answers_of(net, some_images(1, net)).ask("pieces", {"grid": 3})[0].view(5, 7)
    assert pieces[:, 0].bincount().tolist()[::3] == [2, 2, 1] and pieces[0].bincount().tolist() == [3, 2, 2]
    assert len(pieces.unique()) == 9


@pytest.mark.parametrize("cut", [{}, {"grid": 4}, {"segments": 6}], ids=str)
def test_a_map_without_order_is_shuffled_alike_for_all_explainers(cut: dict[str, int]) -> None:
    nothing, constant = (
        answers_of(NET, IMAGES, torch.full_like(MAPS, level), index=[3, 1, 4]).ask("ranks", {**cut, "pool": "mean"})
        for level in (0.0, 0.5)
    )
    assert torch.equal(nothing.places, constant.places)
    assert not torch.equal(nothing.places[0], nothing.places[1])
    other = answers_of(NET, IMAGES, torch.zeros_like(MAPS), index=[3, 1, 4], seed=1).ask("ranks", cut)
    assert not torch.equal(nothing.places, other.places)


@pytest.mark.parametrize("text", ["deletion", "morf", "abpc", "srg", "irof", "road", "keep-top", "monotonicity"])
def test_a_zero_map_has_scores_and_one_without_positive_pixels_no_ordering(text: str) -> None:
    answers = answers_of(NET, IMAGES, torch.zeros_like(MAPS))
    assert np.isfinite(value(text, answers)).all()
    for metric in ("n-ord", "s-ord", "tpn", "tps", "average-gain"):
        assert np.isnan(value(metric, answers)).all()


@pytest.mark.parametrize("text", ["aopc", "aopc:grid=5", "abpc", "selectivity:grid=3", "morf:steps=7", "lerf:grid=200"])
def test_pixels_and_patches_cost_what_was_planned(text: str) -> None:
    (metric,) = name_metrics([parse_spec("evaluate", text)])
    answers = answers_of(NET, IMAGES, MAPS)
    _, curves = metric.evaluate(answers)
    assert answers.ask("subject", {}).calls.forwards == 3 * planned_forwards([metric], 1, 64)
    assert curves[metric.label].shape == (3, metric.points(64))


def test_steps_are_no_more_than_cells() -> None:
    assert [points(100, 64, grid, segments) for grid, segments in ((None, None), (3, None), (9, None), (3, 50))] == [
        64, 9, 64, 50,
    ]  # fmt: skip
