"""Correlation coefficients of rows: against scipy, and where there are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, rankdata, spearmanr

from xaicli.evaluate.correlation import pearson, ranks, spearman

A, B = torch.randn(2, 30, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).round(decimals=1)


def test_against_scipy() -> None:
    pairs = list(zip(A.numpy(), B.numpy(), strict=True))
    assert pearson(A, B).numpy() == pytest.approx([pearsonr(a, b).statistic for a, b in pairs], abs=1e-12)
    assert spearman(A, B).numpy() == pytest.approx([spearmanr(a, b).statistic for a, b in pairs], abs=1e-12)
    assert np.array_equal(ranks(A).numpy(), rankdata(A.numpy(), axis=1))


def test_a_constant_has_none() -> None:
    constant = torch.full_like(A, 0.1)
    for found in (pearson(A, constant), pearson(constant, A), spearman(A, constant), pearson(A, 0 * A)):
        assert found.isnan().all()


def test_sums_of_equal_parts_in_another_order_are_equal() -> None:
    sums = torch.tensor([[0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1, 0.3 + 0.1 + 0.2, 0.6]], dtype=torch.float64)
    assert sums.unique().numel() > 1
    assert pearson(sums, torch.arange(4.0)[None]).isnan() and spearman(sums, torch.arange(4.0)[None]).isnan()
    tied = torch.cat([sums, torch.tensor([[2.0]], dtype=torch.float64)], dim=1)
    assert spearman(tied, torch.tensor([[4.0, 2, 1, 3, 5]])).item() == pytest.approx(
        spearmanr([1, 1, 1, 1, 2], [4, 2, 1, 3, 5]).statistic, abs=1e-12
    )


def test_size_and_level_do_not_matter() -> None:
    assert pearson(1e-200 * A, 1e150 * B).numpy() == pytest.approx(pearson(A, B).numpy(), abs=1e-9)
    assert spearman(1e-200 * A, 1e150 * B).numpy() == pytest.approx(spearman(A, B).numpy(), abs=1e-12)
