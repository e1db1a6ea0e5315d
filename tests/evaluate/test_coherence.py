"""ADCC against a loop over the paper's three terms, and values on paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from tests.evaluate.questions import answers_of, ask
from tests.nets import small_net, some_images
from xaicli.evaluate.coherence import harmonic_mean

NET = small_net(side=12)
IMAGES = some_images(5, NET)
TARGET = NET(IMAGES).argmax(1)


def product(images: torch.Tensor) -> torch.Tensor:
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(NET(images).gather(1, TARGET[:, None]).sum(), images)
    return (gradient * images.detach()).sum(1)


def scaled(values: torch.Tensor) -> torch.Tensor:
    positive = values.clamp_min(0)
    return (positive - positive.min()) / (positive.max() - positive.min())


def test_adcc_against_a_loop() -> None:
    maps = product(IMAGES)
    answers = answers_of(NET, IMAGES, maps)
    found = ask("adcc", answers)
    masks = torch.stack([scaled(one) for one in maps])
    seen = IMAGES * masks[:, None]
    whole, left = (NET(images).softmax(1).gather(1, TARGET[:, None])[:, 0] for images in (IMAGES, seen))
    again = product(seen)
    for row in range(5):
        coherency = (1 + pearsonr(masks[row].ravel(), scaled(again[row]).ravel()).statistic) / 2
        complexity = masks[row].mean().item()
        drop = max(0.0, (whole[row] - left[row]).item()) / whole[row].item()
        assert found["adcc"][row] == pytest.approx(
            3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop)), rel=1e-10
        )
        assert found["adcc-coherency"][row] == pytest.approx(coherency, rel=1e-10)
        assert found["adcc-complexity"][row] == pytest.approx(complexity, rel=1e-12)
        assert found["adcc-drop"][row] == pytest.approx(drop, abs=1e-12)
    assert answers.ask("subject", {}).calls.forwards == 5 * 3  # the image, what is seen of it, and its explanation


def test_what_has_no_part_to_show_is_undefined() -> None:
    maps = product(IMAGES)
    maps[1] = -1
    maps[2] = 0.5
    found = ask("adcc", answers_of(NET, IMAGES, maps))
    assert all(np.isnan(figure).tolist() == [False, True, True, False, False] for figure in found.values())


def test_harmonic_mean() -> None:
    values = torch.tensor([[1.0, 0.5, 0.25], [1.0, 1.0, 0.0], [0.2, 0.2, 0.2]], dtype=torch.float64)
    assert harmonic_mean(values).numpy() == pytest.approx([3 / 7, 0, 0.2], abs=1e-15)
