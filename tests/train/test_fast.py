"""FGSM from a random start and free replays: on a linear model, where each step is known, and step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.nets import classify
from tests.train.test_recipes import FIT, VAL, fresh, same, trained
from xaicli.models.classifier import Classifier
from xaicli.run.random import Stream, generator
from xaicli.specs import parse_spec
from xaicli.train.batch import Batch
from xaicli.train.fast import fast, free
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model

EPS = 0.04


def linear() -> Classifier:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    weight = torch.linspace(-1, 1, 36, dtype=torch.float64)
    network[1].weight.data = torch.stack([weight, -weight])
    network[1].bias.data.zero_()
    return classify(network, (1, 6, 6), 2, torch.float64).requires_grad_().train()


def batch_of(net: nn.Module) -> Batch:
    images = torch.as_tensor(FIT.pixels[35:55]).double() * 0.5 + 0.2  # far from black and white
    return Batch(net, images, torch.tensor(FIT.labels[35:55]), Stream(0, "t", tuple(range(20))))


def uphill(batch: Batch) -> torch.Tensor:
    """The sign of the loss's gradient: against the label's row of the linear layer."""
    weight = torch.linspace(-1, 1, 36, dtype=torch.float64).view(1, 6, 6)
    return torch.where((batch.labels == 0).view(-1, 1, 1, 1), -weight, weight).sign()


def loss_at(net: nn.Module, images: torch.Tensor, batch: Batch) -> float:
    return cross_entropy(net(images), batch.labels).item()


def test_fast_steps_by_five_quarters_of_the_radius_from_a_uniform_start() -> None:
    net = linear()
    batch = batch_of(net)
    start = EPS * (2 * batch.draw.uniform() - 1)
    moved = batch.images + (start + 1.25 * EPS * uphill(batch)).clamp(-EPS, EPS)
    assert fast(batch, eps=EPS).item() == pytest.approx(loss_at(net, moved, batch), abs=1e-12)
    short = batch.images + (start + 0.01 * uphill(batch)).clamp(-EPS, EPS)
    assert fast(batch, eps=EPS, step=0.01).item() == pytest.approx(loss_at(net, short, batch), abs=1e-12)
    cautious = batch.images + (start + 1.25 * EPS / 3 * uphill(batch)).clamp(-EPS, EPS)
    for _ in range(2):
        delta = cautious - batch.images
        cautious = batch.images + (delta + 1.25 * EPS / 3 * uphill(batch)).clamp(-EPS, EPS)
    found = fast(replace(batch, rollbacks=2), eps=EPS).item()
    assert found == pytest.approx(loss_at(net, cautious, batch), abs=1e-12)


def test_free_moves_its_perturbation_in_the_backward_of_the_loss() -> None:
    net = linear()
    kept = torch.zeros(20, 1, 6, 6, dtype=torch.float64)
    batch = replace(batch_of(net), kept=kept)
    expected = torch.zeros_like(kept)
    for _ in range(3):
        loss = free(batch, eps=EPS, step=0.03)
        assert torch.equal(kept, expected)  # the loss itself changes nothing
        assert loss.item() == pytest.approx(loss_at(net, batch.images + expected, batch), abs=1e-12)
        loss.backward()
        expected = (expected + 0.03 * uphill(batch)).clamp(-EPS, EPS)
        torch.testing.assert_close(kept, expected, rtol=0, atol=1e-12)
        expected = kept.clone()
    assert kept.abs().max().item() == pytest.approx(EPS, abs=1e-12)
    kept.zero_()
    free(replace(batch, rollbacks=1), eps=EPS, awp=True).backward()  # auto is the radius; twice a backward, once a move
    torch.testing.assert_close(kept, EPS / 2 * uphill(batch), rtol=0, atol=1e-12)


def test_replays_are_updates_and_the_perturbation_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def watched(batch: Batch, **options: Any) -> torch.Tensor:
        assert batch.kept is not None
        seen.append((batch.stream.index[0], batch.images.clone(), batch.kept.clone()))
        return free(batch, **options)

    monkeypatch.setattr("xaicli.train.fast.free", watched)
    spec = parse_spec("train", "free:eps=0.05,replays=3,augment=none,schedule=constant")
    net = fresh()
    training = train_model(net, Pixels(FIT), Judge(VAL, None, 0), spec, Schedule(1, 50, 50, 0), "test")
    momenta = [training.optimizer.state[p]["momentum_buffer"] for p in net.parameters()]
    assert all(momentum.abs().max() > 0 for momentum in momenta)
    assert int(net.network[1].num_batches_tracked) == 6  # two batches of 45, three times each
    order = generator(0, "shuffle", 1).permutation(90)
    assert [index for index, _, _ in seen] == [order[0]] * 3 + [order[45]] * 3
    assert all(torch.equal(images, seen[0][1]) for _, images, _ in seen[:3])
    assert seen[0][2].abs().max() == 0
    sizes = [kept.abs().max().item() for _, _, kept in seen[1:]]
    assert sizes == pytest.approx([0.05] * 5, abs=1e-6)  # the second batch began with the first one's


def test_with_eps_zero_they_are_standard_training_bit_for_bit() -> None:
    plain = trained("standard:augment=none,lr=0.05,schedule=cyclic")[1]
    for recipe in ("fast:eps=0", "free:eps=0,replays=1", "adversarial:eps=0,steps=1"):
        robust = trained(f"{recipe},augment=none,lr=0.05,schedule=cyclic")[1]
        assert same(plain.best, robust.best), recipe
        assert [entry["loss"] for entry in plain.history] == [entry["loss"] for entry in robust.history]
    assert not same(plain.best, trained("fast:eps=0.1,augment=none,lr=0.05")[1].best)


def test_pieces_of_a_batch_keep_their_own_perturbations() -> None:
    spec = parse_spec("train", "free:eps=0.05,replays=2,augment=none")
    found = []
    for physical in (16, 5):
        net = linear().float()
        schedule = Schedule(2, 16, physical, 0)
        training = train_model(net, Pixels(FIT), Judge(VAL, None, 0), spec, schedule, "test")
        found.append((training.kept, net.network[1].weight.detach()))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)
