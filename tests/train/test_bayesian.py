"""The loss of a Bayesian network, and the posterior of a linear regression that minimising it recovers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaicli.models.bayesian import kl_of, to_mean_field
from xaicli.models.mean_field import drawing
from xaicli.models.prior import Gaussian, ScaleMixture
from xaicli.run.posterior import noise_of
from xaicli.run.random import Stream
from xaicli.train.batch import Batch
from xaicli.train.bayesian import bound_of


def test_the_posterior_of_a_linear_regression_is_recovered() -> None:
    """The mean-field optimum has the posterior's mean and, for deviations, its precision's diagonal to the power -1/2.

    Squared error over twice the noise's variance is minus a log likelihood. It is quadratic in the draws, so that +1
    and -1, each once, are all of them: the loss is exact, and so is its minimum.
    """
    torch.manual_seed(0)
    rows, noise, scale = 12, 0.4, 0.7
    design = torch.randn(rows, 3, dtype=torch.float64) @ torch.tensor([[1, 0.8, 0], [0, 1, 0.5], [0, 0, 1]]).double()
    answers = design @ torch.tensor([1.0, -2, 0.5]).double() + 0.3 + noise * torch.randn(rows, dtype=torch.float64)
    full = torch.cat([design, torch.ones(rows, 1).double()], 1)
    precision = full.T @ full / noise**2 + torch.eye(4).double() / scale**2
    mean = torch.linalg.solve(precision, full.T @ answers / noise**2)

    network = nn.Sequential(nn.Linear(3, 1)).double()
    to_mean_field(network)
    signs = torch.tensor([1.0, -1]).double().repeat_interleave(rows).unsqueeze(1)
    optimiser = torch.optim.LBFGS(
        network.parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        with drawing(network, lambda name, shape: signs):
            found = network(design.repeat(2, 1)).squeeze(1)
        errors = (found - answers.repeat(2)).square() / (2 * noise**2)
        total = errors.mean() + kl_of(network, Gaussian(scale), lambda name, shape: signs) / rows
        total.backward()
        return total

    optimiser.step(loss)
    layer = network[0]
    found = torch.cat([layer.weight_mean.flatten(), layer.bias_mean])
    deviations = F.softplus(torch.cat([layer.weight_rho.flatten(), layer.bias_rho]))
    torch.testing.assert_close(found.detach(), mean, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(deviations.detach(), precision.diagonal().rsqrt(), atol=1e-7, rtol=1e-7)
    exact = torch.linalg.inv(precision).diagonal().sqrt()
    assert (deviations < 0.97 * exact).any()  # narrower than the true one: what mean-field costs


def classifier(sigma: float = 0.1) -> nn.Module:
    """Enough of one: pixels in, logits out."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    to_mean_field(network, sigma=sigma)
    return network


IMAGES = torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(12) % 3


def batch_of(network: nn.Module, rows: Sequence[int], epoch: int = 1) -> Batch:
    index = torch.tensor(rows)
    return Batch(network, IMAGES[index], LABELS[index], Stream(0, f"train:{epoch}", tuple(rows)))


def test_it_is_cross_entropy_of_one_draw_for_each_image_plus_kl_over_n() -> None:
    network, prior = classifier(), Gaussian(0.5)
    found = bound_of(batch_of(network, [3, 1, 7]), prior, weight=1 / 12)
    with drawing(network, noise_of(Stream(0, "train:1/posterior", (3, 1, 7)), IMAGES)):
        logits = network(IMAGES[[3, 1, 7]])
    expected = F.nll_loss(logits.log_softmax(1), LABELS[[3, 1, 7]])
    torch.testing.assert_close(found["cross_entropy"], expected)
    kl = kl_of(network, prior, lambda name, shape: torch.zeros(1, *shape))
    torch.testing.assert_close(found["kl"], kl / 12)


@pytest.mark.parametrize("size", [1, 3, 5, 12])
def test_the_divergence_counts_once_in_an_epoch_and_not_once_per_batch(size: int) -> None:
    """Conformance: the founding system adds it to every batch, which is n/size times too often.

    The mean over an epoch is the same in batches of any size, also when the last one is smaller: draws belong to
    images.
    """
    network, prior = classifier(), Gaussian()
    parts = [list(range(12))[first : first + size] for first in range(0, 12, size)]
    bounds = [(bound_of(batch_of(network, part), prior, weight=1 / 12), len(part)) for part in parts]
    whole = bound_of(batch_of(network, list(range(12))), prior, weight=1 / 12)
    for term in ("cross_entropy", "kl"):
        mean = sum(bound[term] * count for bound, count in bounds) / 12
        torch.testing.assert_close(mean, whole[term], atol=1e-12, rtol=1e-12)


def test_every_mean_and_deviation_gets_a_gradient_from_either_term() -> None:
    for term in ("cross_entropy", "kl"):
        network = classifier()
        bound_of(batch_of(network, [0, 1, 2, 3]), ScaleMixture(), weight=1 / 12)[term].backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, (term, name)


def test_draws_belong_to_epoch_and_image() -> None:
    network = classifier(sigma=0.5)

    def term(epoch: int, rows: list[int]) -> float:
        return bound_of(batch_of(network, rows, epoch), Gaussian(), weight=1 / 12)["cross_entropy"].item()

    assert term(1, [4]) == term(1, [4])
    assert abs(term(1, [4]) - term(2, [4])) > 1e-3
    assert (term(1, [4]) + term(1, [9])) / 2 == pytest.approx(term(1, [9, 4]), abs=1e-12)
