"""Small networks trained on the 8x8 digits, plainly or against PGD."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tests.nets import classify
from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.attack.plan import Draw
from xaicli.models.classifier import Classifier


@dataclass(frozen=True)
class Trained:
    """A classifier, and images and labels that it was not trained on."""

    net: Classifier
    images: Tensor
    labels: Tensor


def train_digits(*, robust: bool, epochs: int = 12) -> Trained:
    digits = load_digits()
    images = torch.as_tensor(digits.images / 16.0, dtype=torch.float32)[:, None]
    labels = torch.as_tensor(digits.target).long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(288, 10),
        )
        net = classify(network, (1, 8, 8), 10, torch.float32).requires_grad_(True)
        optimizer = torch.optim.Adam(net.parameters(), 4e-3)
        attack = pgd(norm="l2", eps=0.8, steps=5)
        for _ in range(epochs):
            for part in torch.randperm(1500).split(100):
                batch = images[part]
                if robust:
                    batch = perturb(attack, net, batch, labels[part], _draw(batch))
                net.train()
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(batch), labels[part]).backward()
                optimizer.step()
    net.eval().requires_grad_(False)
    return Trained(net, images[1500:1700], labels[1500:1700])


def _draw(batch: Tensor) -> Draw:
    return Draw(lambda: torch.randn_like(batch), lambda: torch.rand_like(batch), lambda: torch.rand(len(batch)))
