"""Frechet distance: closed forms on Gaussians, and the square root of a matrix by another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from tests.evaluate.questions import answers_of, ask, company_of
from tests.nets import small_net, some_images
from xaicli.evaluate.frechet import figures, frechet, frechet_distance, statement
from xaicli.run.calls import Calls

RNG = np.random.default_rng(0)


def exact_rows(mean: np.ndarray, covariance: np.ndarray, count: int = 60) -> torch.Tensor:
    """Rows whose sample mean and unbiased sample covariance are exactly these."""
    rows = RNG.standard_normal((count, len(mean)))
    rows -= rows.mean(0)
    whitened = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T)).T)
    return torch.as_tensor(whitened @ np.linalg.cholesky(covariance).T + mean)


def by_square_root(first: np.ndarray, second: np.ndarray) -> float:
    """The formula as written, with scipy's square root of the product."""
    a, b = np.cov(first.T), np.cov(second.T)
    shift = first.mean(0) - second.mean(0)
    return float(shift @ shift + np.trace(a + b - 2 * sqrtm(a @ b).real))


def test_closed_forms_of_gaussians() -> None:
    mean = np.array([1.0, -2.0, 0.5])
    variances, others = np.array([4.0, 0.25, 1.0]), np.array([1.0, 9.0, 1.0])
    first = exact_rows(mean, np.diag(variances))
    # commuting covariances: |a - b|^2 + sum of (sd - sd')^2
    second = exact_rows(np.zeros(3), np.diag(others))
    expected = (mean**2).sum() + ((np.sqrt(variances) - np.sqrt(others)) ** 2).sum()
    assert frechet(first, second) == pytest.approx(expected, abs=1e-10)
    assert frechet(first, first) == pytest.approx(0, abs=1e-10)
    assert frechet(first, first + 3) == pytest.approx(27, abs=1e-9)
    # the same, turned: distances do not depend on the axes
    turn = torch.as_tensor(np.linalg.qr(RNG.standard_normal((3, 3)))[0])
    assert frechet(first @ turn, second @ turn) == pytest.approx(expected, abs=1e-10)
    one = torch.tensor([[0.0], [2.0]], dtype=torch.float64), torch.tensor([[5.0], [11.0]], dtype=torch.float64)
    assert frechet(*one) == pytest.approx(49 + (np.sqrt(2) - np.sqrt(18)) ** 2, abs=1e-12)


@pytest.mark.parametrize(("n", "m", "width"), [(40, 70, 6), (30, 9, 5), (9, 200, 8)])
def test_against_the_square_root_of_the_product(n: int, m: int, width: int) -> None:
    mix = RNG.standard_normal((width, width))
    first, second = RNG.standard_normal((n, width)) @ mix + 0.3, RNG.standard_normal((m, width)) * 2
    found = frechet(torch.as_tensor(first), torch.as_tensor(second))
    assert found == pytest.approx(by_square_root(first, second), rel=1e-6)
    assert found == pytest.approx(frechet(torch.as_tensor(second), torch.as_tensor(first)), rel=1e-9)


def test_fewer_rows_than_features_is_still_the_trace_of_the_root() -> None:
    """A singular covariance: tr (A B)^(1/2) is the nuclear norm of the product of the centred rows."""
    first, second = RNG.standard_normal((5, 12)), RNG.standard_normal((7, 12)) + 1
    a, b = ((rows - rows.mean(0)) / np.sqrt(len(rows) - 1) for rows in (first, second))
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + (a**2).sum() + (b**2).sum() - 2 * np.linalg.norm(a @ b.T, "nuc")
    assert frechet(torch.as_tensor(first), torch.as_tensor(second)) == pytest.approx(expected, rel=1e-7)


def test_the_metric_measures_all_images_at_once_against_the_test_images() -> None:
    net = small_net(3)
    sets = {name: some_images(count, net, seed=n) for n, (name, count) in enumerate(COUNTS.items(), 5)}
    calls = Calls(net)
    whole = company_of(calls, sets, torch.arange(20) % 2)
    features = {name: calls.features(images)[1].numpy() for name, images in sets.items()}
    found = frechet_distance(whole)
    assert found.values.tolist() == [found.values[0].item()] * 20
    assert found.values[0].item() == pytest.approx(by_square_root(features["made"], features["test"]), rel=1e-6)
    floor = by_square_root(features["copies"], features["test"])
    assert found.parts["floor"][0].item() == pytest.approx(floor, rel=1e-6)
    assert found.parts["dimensions"].tolist() == [16] * 20
    some = company_of(calls, sets, torch.arange(20) % 2, torch.tensor([3, 7]))
    assert torch.equal(frechet_distance(some).values, found.values[:2])


COUNTS = {"made": 20, "given": 20, "real": 20, "copies": 20, "test": 50, "training": 60}


def test_the_record_says_how_far_to_trust_it() -> None:
    def said(n: int, value: float = 3.0) -> tuple[float | None, dict]:
        columns = {"": np.full(n, value), "floor": np.full(n, 0.5), "dimensions": np.full(n, 8.0)}
        ((own, floor),) = figures([columns], [{"features": "f"}], {}, 0)
        assert (own.better, floor.part, floor.better) == ("lower", "floor", "neither")
        assert (own.estimate.low, own.estimate.high) == (None, None)  # it is biased
        return own.estimate.value, dict(own.details)

    value, details = said(15)
    assert value == 3 and details == {"features": "f", "n": 15, "dimensions": 8, "floor": 0.5, "unreliable": True}
    assert statement("robust", value, {**details, "model": "judge"}) == (
        "robust: FD(judge) = 3 (0.5 for as many training images) of 15 images in 8 features; unreliable, because "
        "fewer than 16 images."
    )
    assert said(16)[1]["unreliable"] is False
    assert said(16, np.nan)[0] is None


def test_one_image_has_no_distance() -> None:
    net = small_net(3)
    assert np.isnan(ask("frechet-distance", answers_of(net, some_images(1, net)))["frechet-distance"]).all()
