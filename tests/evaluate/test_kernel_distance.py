"""Kernel distance: brute force over pairs, closed forms on Gaussians, unbiasedness, and the subsets."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from tests.evaluate.questions import company_of
from tests.nets import small_net, some_images
from xaicli.evaluate.kernel_distance import figures, kernel_distance, over_subsets, squared_discrepancy
from xaicli.run.calls import Calls
from xaicli.run.random import Stream, generator

RNG = np.random.default_rng(1)


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def by_pairs(first: np.ndarray, second: np.ndarray) -> float:
    own = [kernel(a, b) for (i, a), (j, b) in product(enumerate(first), repeat=2) if i != j]
    others = [kernel(a, b) for (i, a), (j, b) in product(enumerate(second), repeat=2) if i != j]
    return float(np.mean(own) + np.mean(others) - 2 * np.mean([kernel(a, b) for a, b in product(first, second)]))


@pytest.mark.parametrize(("n", "m", "width"), [(7, 5, 3), (2, 2, 1), (4, 11, 6)])
def test_against_all_pairs(n: int, m: int, width: int) -> None:
    first, second = RNG.standard_normal((n, width)), RNG.standard_normal((m, width)) + 0.5
    found = squared_discrepancy(torch.as_tensor(first), torch.as_tensor(second))
    assert found == pytest.approx(by_pairs(first, second), rel=1e-10)
    assert np.isnan(squared_discrepancy(torch.as_tensor(first[:1]), torch.as_tensor(second)))


def test_unbiased_for_gaussians_of_one_feature() -> None:
    """For k = (x y + 1)^3 it is 3 (a1 - b1)^2 + 3 (a2 - b2)^2 + (a3 - b3)^2 of the moments, at any number of rows."""
    mean, deviation = 0.5, 1.2
    moments = mean, mean**2 + deviation**2, mean**3 + 3 * mean * deviation**2
    expected = 3 * moments[0] ** 2 + 3 * (moments[1] - 1) ** 2 + moments[2] ** 2
    drawn = RNG.standard_normal((2, 20000, 5, 1))
    first, second = drawn[0] * deviation + mean, drawn[1]
    found = np.array(
        [squared_discrepancy(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(first, second, strict=True)]
    )
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - expected) < 3 * error < 0.2 * expected
    same = np.array([squared_discrepancy(*torch.as_tensor(drawn[:, row])) for row in range(5000)])
    assert abs(same.mean()) < 3 * same.std() / np.sqrt(len(same)) and (same < 0).any()


def test_subsets_are_drawn_without_replacement_and_seeded() -> None:
    first, second = (torch.as_tensor(RNG.standard_normal((count, 4))) for count in (9, 30))
    expected = []
    for number in range(5):
        rng = generator(2, "kernel-distance:6", number)
        one, other = rng.permutation(9)[:6], rng.permutation(30)[:6]
        assert len({*one}) == len({*other}) == 6
        expected.append(by_pairs(first.numpy()[one], second.numpy()[other]))
    mean, deviation = over_subsets(first, second, 5, 6, seed=2)
    assert mean == pytest.approx(np.mean(expected), rel=1e-10)
    assert deviation == pytest.approx(np.std(expected, ddof=1), rel=1e-10)
    assert over_subsets(first, second, 5, 6, seed=3)[0] != mean
    whole, _ = over_subsets(first, first.clone(), 3, 100, seed=0)  # all of both, in whatever order
    assert whole == pytest.approx(by_pairs(first.numpy(), first.numpy()), rel=1e-10)
    assert np.isnan(over_subsets(first, second, 1, 6, seed=2)[1])


def test_the_metric_and_what_its_record_says() -> None:
    net = small_net(3)
    sizes = {"made": 12, "given": 12, "real": 12, "copies": 12, "test": 40, "training": 40}
    sets = {name: some_images(count, net, seed=n) for n, (name, count) in enumerate(sizes.items(), 5)}
    calls = Calls(net)
    made, copies, test = (calls.features(sets[name])[1] for name in ("made", "copies", "test"))
    company = company_of(calls, sets, torch.arange(12) % 2)
    found = kernel_distance(company, Stream(4, "s", tuple(range(12))), subsets=6, size=8)
    mean, deviation = over_subsets(made, test, 6, 8, seed=4)
    assert found.values.tolist() == [mean] * 12 and found.parts["deviation"].tolist() == [deviation] * 12
    assert found.parts["floor"].tolist() == [over_subsets(copies, test, 6, 8, seed=4)[0]] * 12
    columns = {"": found.values.numpy(), **{part: values.numpy() for part, values in found.parts.items()}}
    ((own, spread, floor),) = figures([columns], [{"features": "f"}], {}, 0)
    assert (own.estimate.value, spread.estimate.value) == (mean, deviation)
    assert own.details == {"features": "f", "n": 12, "deviation": deviation}
    assert (own.better, spread.part, floor.part, floor.better) == ("lower", "deviation", "floor", "neither")
