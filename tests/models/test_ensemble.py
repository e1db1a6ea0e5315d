"""Several networks as one: its logits are the logarithms of their mean probabilities."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xaicli.models.ensemble import Ensemble
from xaicli.models.predictive import predictive


class Fixed(nn.Module):
    """Logits that are given, times the sum of the image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits * x.flatten(1).sum(1, keepdim=True)


def some(members: int, classes: int = 4) -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Flatten(), nn.Linear(6, classes)).double() for _ in range(members)]


IMAGES = torch.rand(5, 1, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("members", [1, 2, 7])
def test_softmax_of_it_is_the_mean_of_the_members(members: int) -> None:
    networks = some(members)
    found = Ensemble(networks)(IMAGES)
    mean = sum(network(IMAGES).softmax(1) for network in networks) / members
    torch.testing.assert_close(found, mean.log(), rtol=0, atol=1e-14)
    torch.testing.assert_close(found.softmax(1), mean, rtol=0, atol=1e-14)
    stacked = torch.stack([network(IMAGES) for network in networks])
    torch.testing.assert_close(found.exp(), predictive(stacked).probability, rtol=0, atol=1e-14)


def test_what_no_member_believes_in_keeps_its_digits() -> None:
    """Probabilities of e^-1000 and e^-1001 are 0 as numbers; the logarithm of their mean is not."""
    networks = [Fixed(torch.tensor([[0.0, -1000.0]])), Fixed(torch.tensor([[0.0, -1001.0]]))]
    found = Ensemble(networks)(torch.ones(1, 1, 1, 1))
    expected = -1000 + torch.tensor(1 + torch.tensor(-1.0).exp().item()).log().item() - torch.tensor(2.0).log().item()
    assert found[0, 1].item() == pytest.approx(expected, abs=1e-4)
    assert found[0, 0].item() == 0


def test_a_gradient_is_that_of_the_mean_probability() -> None:
    """And not of the mean logit: the member that is surer has more to say."""
    networks, images = some(3), IMAGES.clone().requires_grad_()
    (found,) = torch.autograd.grad(Ensemble(networks)(images)[:, 2].exp().sum(), images)
    parts = [torch.autograd.grad(network(images).softmax(1)[:, 2].sum(), images)[0] for network in networks]
    torch.testing.assert_close(found, torch.stack(parts).mean(0), rtol=0, atol=1e-14)
