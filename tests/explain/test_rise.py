"""RISE: exact with all masks, honest with some, and masks as its authors make them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from tests.nets import explain_answers, maps_of, small_net, some_images
from xaicli.errors import UsageError
from xaicli.explain.rise import conditional_mean, enlarge
from xaicli.explain.run import Explainer
from xaicli.specs import parse_spec


def test_all_masks_give_the_exact_conditional_mean() -> None:
    net = small_net(2, side=6)
    (image,) = some_images(1, net)
    opened = torch.tensor(list(product([False, True], repeat=9)))
    nearest = opened.view(-1, 3, 3).repeat_interleave(2, 1).repeat_interleave(2, 2).double()
    scores = net(image * nearest[:, None])[:, 1]
    mean, _ = conditional_mean(scores, lambda begin, end: nearest[begin:end], 0.5)
    for y in range(6):
        for x in range(6):
            expected = scores[nearest[:, y, x] == 1].mean()
            assert mean[y, x].item() == pytest.approx(expected.item(), abs=1e-12)


def test_masks_are_enlarged_and_cut_as_the_authors_do() -> None:
    from skimage.transform import resize

    rng = np.random.default_rng(0)
    opened = rng.random((5, 7, 7)) < 0.5
    shift = np.stack([rng.integers(0, 5, 5), rng.integers(0, 4, 5)], axis=1)
    mine = enlarge(torch.as_tensor(opened), torch.as_tensor(shift), (32, 26), torch.float64)
    for grid, (y, x), mask in zip(opened, shift, mine, strict=True):
        large = resize(grid.astype(float), (40, 32), order=1, mode="edge", anti_aliasing=False)
        assert np.allclose(mask, large[y : y + 32, x : x + 26], rtol=0, atol=1e-6)


def test_the_map_is_the_mean_of_its_own_masks() -> None:
    net = small_net(3, side=9)
    images = some_images(3, net)
    answers = explain_answers(net, images, index=[4, 9, 2])
    found = Explainer(parse_spec("explain", "rise:masks=70,cells=3,probability=0.3,baseline=white")).attribution(
        answers
    )
    asked = answers.ask("rise_scores", {"masks": 70, "cells": 3, "probability": 0.3, "baseline": "white"})
    target = net(images).argmax(1)
    for row in range(3):
        masks = enlarge(asked.open[row], asked.shift[row], (9, 9), torch.float64)
        scores = net(1 + (images[row] - 1) * masks[:, None])[:, target[row]]
        terms = (scores - scores.mean())[:, None, None] * masks / 0.3
        torch.testing.assert_close(found.attribution[row, 0], scores.mean() + terms.mean(0), rtol=0, atol=1e-10)
        expected = terms.std(0) / 70**0.5
        torch.testing.assert_close(found.figures["standard_error"][row, 0], expected, rtol=1e-8, atol=0)
    assert 0.25 < asked.open.double().mean() < 0.35
    assert set(asked.shift.flatten().tolist()) == {0, 1, 2}


def test_the_error_bar_is_honest() -> None:
    net = small_net(5, side=6)
    images = some_images(1, net)

    def run(masks: int, seed: int):
        return Explainer(parse_spec("explain", f"rise:masks={masks},cells=3")).attribution(
            explain_answers(net, images, seed=seed, batch_size=32)
        )

    truth = run(20_000, 99).attribution
    inside = []
    for seed in range(40):
        found = run(200, seed)
        inside.append(((found.attribution - truth).abs() < 2 * found.figures["standard_error"]).double().mean())
    assert 0.88 < torch.stack(inside).mean() < 0.99  # 0.954 of a normal error


def test_masks_that_hide_nothing_or_all_are_refused() -> None:
    net = small_net()
    for share in (0, 1):
        with pytest.raises(UsageError, match="probability"):
            maps_of(f"rise:masks=4,probability={share}", explain_answers(net, some_images(1, net)))
