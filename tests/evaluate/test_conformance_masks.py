"""Defects of Quantus 0.6 in metrics on masks, cells and maps alone: each is a test that these metrics pass.

Reproduced there with exact, random and negated maps; the numbers are the list's.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import Function, classify, linear, small_net, some_images
from xaicli.evaluate.signed import Signed

NET = small_net(3)
W = torch.randn(2, 1, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LINEAR = linear(W)
ROWS = 70
SEEN = some_images(ROWS, LINEAR)
EXACT = (W[0] * SEEN).sum(1)


def test_2_sensitivity_n_scores_every_row_and_sees_wrong_classes_from_row_64_on() -> None:
    right, wrong = torch.zeros(ROWS, dtype=torch.int64), torch.zeros(ROWS, dtype=torch.int64)
    wrong[64:] = 1
    text = "sensitivity-n:shares=0.3,draws=20"
    assert value(text, answers_of(LINEAR, SEEN, EXACT, target=right)) == pytest.approx(1, abs=1e-12)
    found = value(text, answers_of(LINEAR, SEEN, EXACT, target=wrong))
    assert found[:64] == pytest.approx(1, abs=1e-12) and (found[64:] < 0.9).all()


@pytest.mark.parametrize("largest", [0.2, 0.35, 0.5, 0.9, 1.0])
def test_3_infidelity_takes_patches_of_any_side_and_any_number_of_channels(largest: float) -> None:
    """Five by seven pixels, which no patch of two to four divides, and an image of two channels."""
    target = torch.zeros(ROWS, dtype=torch.int64)
    gray = answers_of(LINEAR, SEEN, target=target, signed=Signed(W[target] * SEEN))
    assert value(f"infidelity:largest={largest},draws=10", gray) == pytest.approx(0, abs=1e-20)
    colour = some_images(3, NET)
    found = value(f"infidelity:largest={largest}", answers_of(NET, colour, signed=Signed(colour)))
    assert np.isfinite(found).all() and (found > 0).all()


def test_4_completeness_is_a_distance_and_an_exact_map_passes_in_every_image() -> None:
    """In float32, where the sum of the map and the difference of the scores are hardly ever the same number."""
    net = linear(W.float())
    images = SEEN.float()
    target = torch.zeros(ROWS, dtype=torch.int64)
    exact = W[0].float() * images
    span = net(images)[:, 0] - net(torch.zeros_like(images))[:, 0]
    assert 0.1 < (exact.sum((1, 2, 3)) == span).double().mean() < 0.9  # what a test of equality would say
    found = value("completeness", answers_of(net, images, target=target, signed=Signed(exact)))
    assert (found < 1e-5).all()
    assert (value("completeness", answers_of(net, images, target=target, signed=Signed(2 * exact))) > 1e-3).all()


def test_5_an_empty_mask_is_no_hit_and_no_score_depends_on_the_batch() -> None:
    mask = torch.rand(ROWS, 5, 7, generator=torch.Generator().manual_seed(2)) < 0.2
    mask[::3] = False
    metrics = ["pointing-game", "relevance-mass", "relevance-rank", "top-k-intersection", "localisation-auc"]
    together = {metric: value(metric, answers_of(LINEAR, SEEN, EXACT, mask=mask)) for metric in metrics}
    for metric, found in together.items():
        assert np.isnan(found[::3]).all() and np.isfinite(np.delete(found, np.s_[::3])).all()
        for row in (1, 2, 68):
            alone = answers_of(LINEAR, SEEN[row : row + 1], EXACT[row : row + 1], mask=mask[row : row + 1], index=[row])
            assert value(metric, alone).tolist() == [found[row]]


def test_6_the_complexity_of_a_map_does_not_depend_on_its_neighbours() -> None:
    maps = EXACT[:3].clone()
    maps[1] *= 1e8
    maps[2] *= 1e-8
    for metric in ("effective-complexity", "gini", "entropy", "non-sensitivity"):
        found = value(metric, answers_of(LINEAR, SEEN[:3], maps))
        alone = [value(metric, answers_of(LINEAR, SEEN[i : i + 1], EXACT[i : i + 1], index=[i]))[0] for i in range(3)]
        assert found == pytest.approx(alone, rel=1e-12)


def test_10_non_sensitivity_asks_about_each_pixel_of_each_row_once_for_all_explainers() -> None:
    net = small_net(4, side=8)
    images = some_images(16, net)
    outer = answers_of(net, images)
    for maps in (images.sum(1), -images.sum(1), images[:, 0]):
        value("non-sensitivity:grid=all", outer.within({"attribution": maps}))
    assert outer.ask("subject", {}).calls.forwards == 16 * 64 + 16  # 1,040; a batch of 16 for each pixel is 16,400


def test_11_monotonicity_correlation_takes_a_score_of_zero() -> None:
    net = classify(Function(lambda x: 1e-30 * LINEAR.network(x - 0.5)), (1, 5, 7), 2)
    grey = torch.full((3, 1, 5, 7), 0.5, dtype=torch.float64)
    assert net(grey).abs().max() == 0
    target = torch.zeros(3, dtype=torch.int64)
    maps = W[0].expand(3, 5, 7)
    found = value("monotonicity-correlation:grid=all,draws=200", answers_of(net, grey, maps, target=target))
    assert (found > 0.9).all()


def test_11_signed_maps_have_an_entropy() -> None:
    found = value("entropy", answers_of(LINEAR, SEEN, EXACT))
    assert (EXACT < 0).any() and np.isfinite(found).all()
    assert np.array_equal(found, value("entropy", answers_of(LINEAR, SEEN, EXACT.abs())))


def test_11_nothing_of_the_callers_is_changed() -> None:
    images, maps, mask = SEEN[:3].clone(), EXACT[:3].clone(), EXACT[:3] > 0
    signed = Signed(maps.unsqueeze(1).clone(), gap=torch.ones(3, dtype=torch.float64))
    answers = answers_of(LINEAR, images, maps, mask=mask, signed=signed)
    metrics = ["infidelity", "faithfulness-correlation", "mu-fidelity", "sensitivity-n", "faithfulness-estimate",
               "monotonicity-correlation", "gini", "entropy", "effective-complexity", "completeness",
               "non-sensitivity", "relevance-rank", "top-k-intersection", "localisation-auc"]  # fmt: skip
    first = {metric: ask(metric, answers) for metric in metrics}
    assert torch.equal(images, SEEN[:3]) and torch.equal(maps, EXACT[:3]) and torch.equal(mask, EXACT[:3] > 0)
    assert torch.equal(signed.values, EXACT[:3].unsqueeze(1)) and torch.equal(signed.gap, torch.ones(3).double())
    for metric in metrics:
        again = ask(metric, answers)
        assert all(np.array_equal(first[metric][name], again[name], equal_nan=True) for name in again)
