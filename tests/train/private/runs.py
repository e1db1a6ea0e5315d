"""Private trainings of a tiny network on stripes, in float64, without files."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.nets import classify
from tests.train.test_recipes import VAL, stripes
from xaicli.models.classifier import Classifier
from xaicli.specs import parse_spec
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model
from xaicli.train.private.budget import Budget
from xaicli.train.private.ledger import Ledger
from xaicli.train.private.noisy import Noisy, Poisson
from xaicli.train.private.secret import Secret
from xaicli.train.state import Training
from xaicli.train.way import Way

SECRET = Secret.from_seed(7)
SIGMA, CLIP = 0.7, 2.0


def net(dtype: torch.dtype = torch.float64) -> Classifier:
    """Its gradients are about as long as CLIP: some are clipped and some are not."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2))
    return classify(network, (1, 6, 6), 2, dtype).requires_grad_()


def budget(rows: int, batch: int, steps: int, **changes: Any) -> Budget:
    planned = {"noise_multiplier": SIGMA, "max_grad_norm": CLIP, "delta": 1e-3, "accountant": "rdp", "target": None}
    return Budget(rows, batch, steps, **{**planned, **changes}, data="d" * 64, before=Ledger())


def trained(
    options: str, planned: Budget, *, physical: int = 64, rows: Any = None, judge: Any = None, model: Any = None
) -> tuple[Classifier, Training]:
    """Train by `private:OPTIONS`; rows are stripes unless given."""
    classifier, spec = model or net(), parse_spec("train", f"private:{options}")
    copies = int(spec.options["multiplicity"])  # type: ignore[arg-type]
    way = Way(Poisson(planned, SECRET), Noisy(classifier, planned, SECRET, copies), keep_last=True)
    dataset = rows or stripes(planned.rows, 3)
    judge = judge or Judge(VAL, None, 0)
    schedule = Schedule(way.order.epochs, planned.batch_size, physical, 0)
    pixels = Pixels(dataset)
    return classifier, train_model(classifier, pixels, judge, spec, schedule, "test", way=way)
