"""Mean prediction, entropy and mutual information of draws, in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import entropy

from xaicli.models.predictive import predictive


def test_sure_draws_that_disagree_know_only_that_they_do_not_know() -> None:
    """All uncertainty is about the weights: two classes, half the draws for each."""
    found = predictive(torch.tensor([[[60.0, 0, 0]], [[0, 60, 0]]]))
    torch.testing.assert_close(found.probability, torch.tensor([[0.5, 0.5, 0]]).double(), atol=1e-20, rtol=1e-12)
    assert found.entropy.item() == pytest.approx(math.log(2), rel=1e-12)
    assert found.mutual_information.item() == pytest.approx(math.log(2), rel=1e-12)


def test_draws_that_agree_leave_nothing_to_learn() -> None:
    found = predictive(torch.tensor([0.0, 1.0, 3.0]).log().expand(7, 2, 3))
    torch.testing.assert_close(found.probability, torch.tensor([0, 0.25, 0.75]).double().expand(2, 3))
    assert found.entropy.tolist() == pytest.approx([entropy([0.25, 0.75])] * 2, rel=1e-6)
    assert found.mutual_information.min() >= 0 and found.mutual_information.max() < 1e-12


def test_it_is_scipys_entropies() -> None:
    logits = 3 * torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
    found, each = predictive(logits), logits.double().softmax(2).numpy()
    mean = each.mean(0)
    torch.testing.assert_close(found.probability, torch.from_numpy(mean), atol=1e-14, rtol=1e-12)
    total, expected = entropy(mean, axis=1), entropy(each, axis=2).mean(0)
    assert found.entropy.tolist() == pytest.approx(total, rel=1e-12)
    assert found.mutual_information.tolist() == pytest.approx(total - expected, rel=1e-10)


def test_the_order_of_draws_and_shifts_of_logits_do_not_matter() -> None:
    logits = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, other = predictive(logits), predictive(logits.flip(0) + torch.tensor([100.0, -7, 0]).view(3, 1, 1))
    for name in ("probability", "entropy", "mutual_information"):
        torch.testing.assert_close(getattr(found, name), getattr(other, name), atol=1e-12, rtol=1e-10)
