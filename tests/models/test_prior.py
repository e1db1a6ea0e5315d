"""Divergences from a prior against torch.distributions, quadrature and their own derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, distributions
from torch.nn import functional as F

from xaicli.errors import UsageError
from xaicli.models.prior import Gaussian, ScaleMixture


def posterior(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    return mean, torch.rand(shape, generator=generator, dtype=torch.float64) * 2 + 0.01


def never() -> Tensor:
    raise AssertionError("a closed form needs no draw")


def in_torch(prior: ScaleMixture) -> distributions.MixtureSameFamily:
    scales = torch.tensor([prior.wide, prior.narrow], dtype=torch.float64)
    shares = distributions.Categorical(torch.tensor([prior.share, 1 - prior.share], dtype=torch.float64))
    return distributions.MixtureSameFamily(shares, distributions.Normal(torch.zeros_like(scales), scales))


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_a_gaussian_prior_is_torchs_divergence(scale: float) -> None:
    mean, sigma = posterior(4, 3)
    expected = distributions.kl_divergence(
        distributions.Normal(mean, sigma), distributions.Normal(torch.zeros(()).double(), scale)
    )
    torch.testing.assert_close(Gaussian(scale).divergence(mean, sigma, never), expected.sum(), atol=1e-12, rtol=1e-12)


def test_a_posterior_that_is_the_prior_has_moved_nowhere() -> None:
    assert Gaussian(2).divergence(torch.zeros(5), torch.full((5,), 2.0), never) == 0


def test_the_slopes_of_a_gaussian_prior_are_their_formulas() -> None:
    """d/d mean = mean/s^2; d/d rho = (sigma/s^2 - 1/sigma) logistic(rho)."""
    mean = torch.tensor([-2.0, 0.0, 0.7], dtype=torch.float64, requires_grad=True)
    rho = torch.tensor([-30.0, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    sigma, scale = F.softplus(rho), 0.5
    Gaussian(scale).divergence(mean, sigma, never).backward()  # type: ignore[no-untyped-call]
    assert mean.grad is not None and rho.grad is not None
    torch.testing.assert_close(mean.grad, mean.detach() / scale**2)
    torch.testing.assert_close(rho.grad, ((sigma / scale**2 - 1 / sigma) * rho.sigmoid()).detach())


@pytest.mark.parametrize("prior", [ScaleMixture(), ScaleMixture(0.25, 1.0, math.exp(-8)), ScaleMixture(0.9, 2, 2)])
def test_a_mixtures_divergence_is_torchs_at_the_drawn_weights(prior: ScaleMixture) -> None:
    mean, sigma = posterior(6, 2)
    noise = torch.linspace(-4, 4, 12, dtype=torch.float64).view(6, 2)
    weights = mean + sigma * noise
    expected = distributions.Normal(mean, sigma).log_prob(weights) - in_torch(prior).log_prob(weights)
    found = prior.divergence(mean, sigma, lambda: noise)
    torch.testing.assert_close(found, expected.sum(), atol=1e-10, rtol=1e-12)


def test_the_mean_of_a_mixtures_divergence_is_the_integral() -> None:
    """Over 100,000 draws, within four standard errors of a quadrature."""
    prior, mean, sigma = ScaleMixture(0.25, 1.0, 0.05), 0.1, 0.2
    own, other = distributions.Normal(mean, sigma), in_torch(prior)

    def integrand(w: float) -> float:
        at = torch.tensor(w, dtype=torch.float64)
        return float(own.log_prob(at).exp() * (own.log_prob(at) - other.log_prob(at)))

    exact, error = quad(integrand, mean - 10 * sigma, mean + 10 * sigma, points=[0, mean])
    assert error < 1e-8
    draws = torch.randn(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    at = mean + sigma * draws
    spread = (own.log_prob(at) - other.log_prob(at)).std().item()
    many = torch.full_like(draws, mean), torch.full_like(draws, sigma)
    found = prior.divergence(*many, lambda: draws).item() / len(draws)
    assert found == pytest.approx(exact, abs=4 * spread / math.sqrt(len(draws)))
    assert exact > 10 * 4 * spread / math.sqrt(len(draws))  # so that it could fail


def test_equal_scales_make_a_mixture_a_gaussian() -> None:
    """What is drawn of q = p is worth nothing at all, at any draw."""
    zeros, noise = torch.zeros(4, dtype=torch.float64), torch.tensor([-3.0, 0, 1, 8]).double()
    assert abs(ScaleMixture(0.3, 0.7, 0.7).divergence(zeros, zeros + 0.7, lambda: noise)) < 1e-12


def test_far_weights_keep_a_finite_density_and_slope() -> None:
    far = torch.tensor([0.0, 1.0, -100.0], requires_grad=True)
    density = ScaleMixture().log_density(far)
    density.sum().backward()  # type: ignore[no-untyped-call]
    assert far.grad is not None
    expected = -far.detach() / math.exp(-2)
    torch.testing.assert_close(far.grad[1:], expected[1:])
    assert density.isfinite().all() and far.grad[0] == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Gaussian(0),
        lambda: Gaussian(math.inf),
        lambda: ScaleMixture(wide=-1),
        lambda: ScaleMixture(narrow=math.nan),
        lambda: ScaleMixture(share=1),
    ],
)
def test_what_is_no_prior_is_a_usage_error(make: type[Gaussian]) -> None:
    with pytest.raises(UsageError, match="cannot have"):
        make()
