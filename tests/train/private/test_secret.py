"""Draws from the secret key: independent rows and normal noise, and the same again for the same step only."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import binom, chisquare

from tests.train.private.detectors import Releases, faults
from xaicli.train.private.secret import KEY_BYTES, Secret

SECRET = Secret.from_seed(3)
LIKE = torch.zeros(40, 5)


def released(secret: Secret, total: int, rate: float, steps: int) -> Releases:
    rows = [secret.rows(step, total, rate) for step in range(steps)]
    shapes = {"weight": torch.zeros(20, 15), "bias": torch.zeros(300, dtype=torch.float64)}
    noise = {
        name: torch.stack([secret.normal(step, name, like).flatten() for step in range(steps)]).double().numpy()
        for name, like in shapes.items()
    }
    return Releases(total, rate, rows, noise)


@pytest.mark.parametrize(("total", "rate"), [(2000, 0.05), (500, 0.5), (5000, 0.001), (40, 0.9)])
def test_a_whole_training_of_draws_has_no_fault(total: int, rate: float) -> None:
    assert faults(released(SECRET, total, rate, 250)) == set()


def test_every_size_of_a_batch_is_as_frequent_as_the_binomial_says() -> None:
    """Of 9 rows at 0.3, over 4,000 steps; batches without a row among them."""
    sizes = Counter(len(SECRET.rows(step, 9, 0.3)) for step in range(4000))
    expected = 4000 * binom.pmf(range(7), 9, 0.3)
    found = [sizes[size] for size in range(7)]
    assert chisquare([*found, 4000 - sum(found)], [*expected, 4000 - expected.sum()]).pvalue > 0.01
    assert found[0] > 100


def test_pairs_of_rows_are_independent() -> None:
    """Whatever the one does, the other is drawn at the same rate: the four outcomes of each pair of neighbours."""
    drawn = np.zeros((3000, 12))
    for step in range(3000):
        drawn[step, SECRET.rows(step, 12, 0.25)] = 1
    for first in range(11):
        outcomes = np.bincount((2 * drawn[:, first] + drawn[:, first + 1]).astype(int), minlength=4)
        assert chisquare(outcomes, 3000 * np.array([0.5625, 0.1875, 0.1875, 0.0625])).pvalue > 1e-3


def test_rows_are_ascending_and_all_of_them_at_rate_one() -> None:
    assert SECRET.rows(0, 7, 1.0).tolist() == list(range(7)) and SECRET.rows(0, 7, 0.0).tolist() == []
    rows = SECRET.rows(4, 1000, 0.2)
    assert rows.dtype == np.int64 and (np.diff(rows) > 0).all()


def test_a_step_done_again_is_the_same_release_and_all_else_differs() -> None:
    again = Secret(SECRET.key)
    assert torch.equal(again.normal(5, "w", LIKE), SECRET.normal(5, "w", LIKE))
    assert again.rows(5, 900, 0.5).tolist() == SECRET.rows(5, 900, 0.5).tolist()
    others = [SECRET.normal(6, "w", LIKE), SECRET.normal(5, "v", LIKE), Secret.from_seed(4).normal(5, "w", LIKE)]
    others.append(Secret.from_seed(3, "another training").normal(5, "w", LIKE))
    for noise in others:
        assert abs(np.corrcoef(noise.flatten(), SECRET.normal(5, "w", LIKE).flatten())[0, 1]) < 0.25


def test_noise_has_the_shape_and_the_type_of_its_parameter() -> None:
    double, single = (SECRET.normal(0, "w", LIKE.to(dtype)) for dtype in (torch.float64, torch.float32))
    assert double.dtype == torch.float64 and single.dtype == torch.float32 and double.shape == LIKE.shape
    assert torch.equal(double.float(), single) and len(double.unique()) == LIKE.numel()
    assert SECRET.normal(0, "scale", torch.zeros(())).shape == ()


def test_a_fresh_key_has_256_bits_of_the_operating_system_and_is_not_shown() -> None:
    keys = [Secret.fresh() for _ in range(20)]
    bits = "".join(f"{int(one.key, 16):0256b}" for one in keys)
    assert len(set(keys)) == 20 and all(len(one.key) == 2 * KEY_BYTES == 64 for one in keys)
    assert abs(bits.count("1") - 2560) < 4 * 1280**0.5
    assert not keys[0].seeded and SECRET.seeded and keys[0].key not in repr(keys[0])
