"""How concentrated a map is: closed forms, definitions, and nothing from the neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from tests.evaluate.questions import answers_of, value
from tests.nets import linear

NET = linear(torch.ones(2, 1, 4, 5, dtype=torch.float64))
ONE_HOT = torch.zeros(4, 5, dtype=torch.float64)
ONE_HOT[2, 3] = -3
UNIFORM = torch.full((4, 5), -0.2, dtype=torch.float64)
SIGNED = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
NOTHING = torch.zeros(4, 5, dtype=torch.float64)


def score(metric: str, *maps: torch.Tensor) -> np.ndarray:
    images = torch.zeros(len(maps), 1, 4, 5, dtype=torch.float64)
    return value(metric, answers_of(NET, images, torch.stack(maps)))


def test_gini() -> None:
    found = score("gini", ONE_HOT, UNIFORM, SIGNED, NOTHING)
    v = SIGNED.abs().flatten().numpy()
    mean_difference = np.abs(v[:, None] - v[None, :]).mean() / (2 * v.mean())
    assert found == pytest.approx([19 / 20, 0, mean_difference, np.nan], abs=1e-14, nan_ok=True)


def test_entropy() -> None:
    found = score("entropy", ONE_HOT, UNIFORM, SIGNED, NOTHING)
    expected = [0, np.log(20), scipy_entropy(SIGNED.abs().flatten().numpy()), np.nan]
    assert found == pytest.approx(expected, abs=1e-14, nan_ok=True)


def test_effective_complexity() -> None:
    small = SIGNED * 1e-9
    found = score("effective-complexity:eps=0.5", ONE_HOT, UNIFORM, SIGNED, small, NOTHING)
    v = SIGNED.abs().numpy()
    used = (v > v.max() / 2).sum()
    assert 1 < used < 20
    assert found == pytest.approx([1, 20, used, used, np.nan], nan_ok=True)
    assert score("effective-complexity", ONE_HOT, SIGNED).tolist() == [1, 20]
