"""Completeness and non-sensitivity as distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import linear, small_net, some_images
from xaicli.evaluate.signed import Signed

NET = small_net(3)
IMAGES = some_images(4, NET)
TARGET = NET(IMAGES).argmax(1)
MAPS = torch.randn(4, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def f(images: torch.Tensor) -> torch.Tensor:
    return NET(images).gather(1, TARGET[:, None]).squeeze(1)


def test_the_gap_of_a_linear_model_closes() -> None:
    w = torch.randn(2, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net, target = linear(w, torch.tensor([5.0, -5.0], dtype=torch.float64)), torch.tensor([0, 1, 0, 1])
    found = ask("completeness", answers_of(net, IMAGES, target=target, signed=Signed(w[target] * IMAGES)))
    assert found["completeness"] == pytest.approx(0, abs=1e-13)
    assert found["completeness-share"] == pytest.approx(0, abs=1e-13)
    found = ask("completeness", answers_of(net, IMAGES, target=target, signed=Signed(1.5 * w[target] * IMAGES)))
    assert found["completeness-share"] == pytest.approx(0.5, abs=1e-12)


def test_against_the_definition_for_every_baseline() -> None:
    answers = answers_of(NET, IMAGES, signed=Signed(MAPS))
    for baseline in ("black", "white", "noise"):
        away = answers.ask("baseline_image", {"baseline": baseline})
        span = f(IMAGES) - f(away)
        found, share = ask(f"completeness:baseline={baseline}", answers).values()
        gap = (MAPS.sum((1, 2, 3)) - span).abs()
        assert found == pytest.approx(gap.numpy(), abs=1e-12)
        assert share == pytest.approx((gap / span.abs()).numpy(), rel=1e-10)


def test_a_method_that_stores_its_gap_is_judged_by_its_own_baseline() -> None:
    gap = torch.tensor([0.25, -0.5, 0.0, 2.0], dtype=torch.float64)
    answers = answers_of(NET, IMAGES, signed=Signed(MAPS, gap=gap))
    found = ask("completeness", answers)
    assert found["completeness"].tolist() == [0.25, 0.5, 0, 2]
    span = (MAPS.sum((1, 2, 3)) - gap).abs()
    assert found["completeness-share"] == pytest.approx((gap.abs() / span).numpy(), rel=1e-12)
    without = answers_of(NET, IMAGES, signed=Signed(MAPS))
    assert np.array_equal(value("completeness:baseline=black", answers), value("completeness", without))


def test_non_sensitivity_counts_cells_that_only_one_side_uses() -> None:
    w = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    w[0, 0, 0] = torch.tensor([1.0, -2.0, 1e-9, 0.0])  # the model uses two pixels
    net = linear(torch.cat([w, -w]))
    images = some_images(3, net)
    maps = w[0].repeat(3, 1, 1)
    maps[1, 3, 3] = 1  # one more than the model
    maps[2] = 0  # nothing at all
    found = value("non-sensitivity:grid=all", answers_of(net, images, maps))
    assert found.tolist() == [0, 1 / 16, 2 / 16]
    # of 2 x 2 cells the model uses one (its second pair of pixels changes f too little), the maps 1, 2 and 0
    found = value("non-sensitivity:grid=2", answers_of(net, images, maps))
    assert found.tolist() == [0, 1 / 4, 1 / 4]
    assert value("non-sensitivity:grid=2,eps=0", answers_of(net, images, maps)).tolist() == [0, 1 / 4, 2 / 4]
    opposite = maps.clone()
    opposite[:, 0, 1] = -maps[:, 0, 0]  # the cell's sum is zero, its attribution is not
    assert value("non-sensitivity:grid=2", answers_of(net, images, opposite))[0] == 0


def test_a_model_that_hears_nothing_agrees_with_an_empty_map() -> None:
    net = linear(torch.zeros(2, 1, 4, 4, dtype=torch.float64))
    maps = torch.zeros(2, 4, 4, dtype=torch.float64)
    maps[1] = 1
    assert value("non-sensitivity", answers_of(net, some_images(2, net), maps)).tolist() == [0, 1]
