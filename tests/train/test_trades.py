"""TRADES and MART against formulas written from probabilities, and what the attack within them raises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.nets import small_net, some_images
from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.models.classifier import Classifier
from xaicli.run.random import Stream
from xaicli.train.batch import Batch
from xaicli.train.divergence import NEARBY, divergence, from_nearby, slope_from
from xaicli.train.trades import boosted, log_rest, mart, trades

CLEAN = np.log([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])
ATTACKED = np.log([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
LABELS = [0, 1]


def batch_of(net: Classifier, count: int = 8) -> Batch:
    images = some_images(count, net) * 0.8 + 0.1
    return Batch(net.requires_grad_().train(), images, torch.arange(count) % 3, Stream(0, "t", tuple(range(count))))


def probabilities(net: Classifier, images: torch.Tensor) -> np.ndarray:
    logits = net(images).detach().numpy()
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def test_divergence_of_written_out_probabilities() -> None:
    expected = [
        0.7 * math.log(0.7 / 0.5) + 0.2 * math.log(0.2 / 0.3) + 0.1 * math.log(0.1 / 0.2),
        0.25 * math.log(0.25 / 0.2) + 0.5 * math.log(0.5 / 0.2) + 0.25 * math.log(0.25 / 0.6),
    ]
    found = divergence(torch.tensor(CLEAN), torch.tensor(ATTACKED) + 5)  # logits are free up to a constant
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_boosted_cross_entropy_of_written_out_probabilities() -> None:
    found = boosted(torch.tensor(ATTACKED), torch.tensor(LABELS))
    assert found.tolist() == pytest.approx(
        [-math.log(0.5) - math.log(1 - 0.3), -math.log(0.2) - math.log(1 - 0.6)], abs=1e-12
    )
    rest = log_rest(torch.tensor(CLEAN), torch.tensor(LABELS))
    assert rest.exp().tolist() == pytest.approx([0.3, 0.5], abs=1e-12)


def test_the_losses_from_the_probabilities_of_the_moved_images() -> None:
    net = small_net(seed=3).double()
    batch = batch_of(net)
    net.eval()  # BatchNorm would give other numbers at every look
    near = from_nearby(pgd(eps=0.05, steps=4))
    with torch.no_grad():
        rise = slope_from(net(batch.images))
    rows = np.arange(8), batch.labels.numpy()
    for_trades = perturb(near, net, batch.images, batch.labels, batch.draw, rise)
    p, q = probabilities(net, batch.images), probabilities(net, for_trades)
    kl = (p * np.log(p / q)).sum(1)
    expected = (-np.log(p[rows]) + 6 * kl).mean()
    assert kl.mean() > 1e-3 and trades(batch, eps=0.05, steps=4).item() == pytest.approx(expected, abs=1e-10)
    assert trades(batch, eps=0.05, steps=4, beta=0).item() == pytest.approx(-np.log(p[rows]).mean(), abs=1e-10)

    for_mart = perturb(near, net, batch.images, batch.labels, batch.draw)
    q = probabilities(net, for_mart)
    others = q.copy()
    others[rows] = 0
    kl = (p * np.log(p / q)).sum(1)
    expected = (-np.log(q[rows]) - np.log(1 - others.max(1)) + 5 * (1 - p[rows]) * kl).mean()
    assert mart(batch, eps=0.05, steps=4).item() == pytest.approx(expected, abs=1e-10)


def test_with_eps_zero_trades_is_cross_entropy_with_its_gradient() -> None:
    net = small_net(seed=3).double()
    batch = batch_of(net)
    weights = list(net.parameters())
    loss = trades(batch, eps=0, steps=2)
    plain = cross_entropy(net(batch.images), batch.labels)
    assert loss.item() == pytest.approx(plain.item(), abs=1e-12)
    pairs = zip(torch.autograd.grad(loss, weights), torch.autograd.grad(plain, weights), strict=True)
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_mart_does_not_collapse_where_probabilities_vanish(scale: float) -> None:
    """Formulas in probabilities give the logarithm of zero, or lose the gradient to a constant that is added."""
    logits = (scale * torch.tensor([[1.0, -1.0, 0.5], [-1.0, 1.0, 0.5], [0.0, 0.0, 0.0]])).requires_grad_()
    loss = boosted(logits, torch.tensor([0, 0, 0]))
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    # surely right: nothing; surely wrong: the winner's lead over the label, and over the runner-up; unsure: both thirds
    assert loss.tolist() == pytest.approx([0, 2.5 * scale, math.log(3) - math.log(2 / 3)], rel=1e-6, abs=1e-6)
    assert slope[1].tolist() == pytest.approx([-1, 2, -1], abs=1e-6)
    assert divergence(logits, -logits).tolist() == pytest.approx([2 * scale, 2 * scale, 0], rel=1e-6, abs=1e-6)


def test_the_slope_of_the_divergence() -> None:
    clean, attacked = torch.tensor(CLEAN), torch.tensor(ATTACKED, requires_grad=True)
    (expected,) = torch.autograd.grad(divergence(clean, attacked).sum(), attacked)
    torch.testing.assert_close(slope_from(clean)(attacked.detach()), expected, rtol=0, atol=1e-12)
    sure, moved = torch.tensor([[30.0, 0.0, 0.0]]), torch.tensor([[30.0, 1.0, 0.5]])
    rest = (moved.double().softmax(1) - sure.double().softmax(1))[0, 1:].tolist()
    found = slope_from(sure)(moved)[0].tolist()
    assert found == pytest.approx([-sum(rest), *rest], rel=1e-5, abs=0)  # in float32 both largest shares are 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_attack_begins_nearby_and_raises_the_divergence(norm: str) -> None:
    net = small_net(seed=3).double()
    batch = batch_of(net)
    net.eval()
    clean = net(batch.images).detach()
    attack = from_nearby(pgd(norm=norm, eps=0.05, steps=5))
    first = attack.start(batch.draw, batch.images)
    torch.testing.assert_close(first, batch.images + NEARBY * batch.draw.normal(), rtol=0, atol=1e-12)
    moved = perturb(attack, net, batch.images, batch.labels, batch.draw, slope_from(clean))
    assert (divergence(clean, net(moved)) > 10 * divergence(clean, net(first))).all()
    tight = from_nearby(pgd(norm=norm, eps=1e-4, steps=1)).start(batch.draw, batch.images) - batch.images
    size = tight.abs().flatten(1).amax(1) if norm == "linf" else tight.flatten(1).norm(dim=1)
    torch.testing.assert_close(size, torch.full_like(size, 1e-4), rtol=0, atol=1e-12)
