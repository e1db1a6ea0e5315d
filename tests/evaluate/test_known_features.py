"""Exact maps beat random ones on drawn objects, for a network whose features are known, in every metric on masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.evaluate.questions import answers_of, ask
from tests.nets import Function, classify
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.evaluate.signed import Signed
from xaicli.methods import describe

SHAPES = open_data("shapes", split="test", shape=(3, 32, 32))
POSITIONS = range(8)
IMAGES = torch.as_tensor(to_float(SHAPES.read(POSITIONS).pixels)).double()
MASKS = torch.as_tensor(SHAPES.masks(POSITIONS))
KINDS = torch.tensor([[1.0, -1, 0], [0, 1, -1], [-1, 0, 1]], dtype=torch.float64)  # redder than green, and so on


def evidence(images: Tensor) -> Tensor:
    """What each pixel says for each class, [n, K, H, W]: alone, whatever the others are, and nothing if it is black."""
    return torch.einsum("kc,nchw->nkhw", KINDS, images).relu()


NET = classify(Function(lambda images: evidence(images).sum((2, 3))), (3, 32, 32), 3)
TARGET = NET(IMAGES).argmax(1)
EXACT = evidence(IMAGES)[torch.arange(8), TARGET]
GENERATOR = torch.Generator().manual_seed(0)
RANDOM = [torch.randn(EXACT.shape, dtype=torch.float64, generator=GENERATOR) for _ in range(5)]

HIGHER = ["faithfulness-correlation", "mu-fidelity", "sensitivity-n:draws=40", "faithfulness-estimate"]
LOWER = ["infidelity", "completeness"]
DEPENDENCE = ["monotonicity-correlation", "non-sensitivity"]


def figures(text: str, maps: Tensor) -> np.ndarray:
    answers = answers_of(NET, IMAGES, maps, target=TARGET, mask=MASKS, signed=Signed(maps.unsqueeze(1)), batch_size=32)
    return next(iter(ask(text, answers).values()))


@pytest.mark.parametrize("text", [*HIGHER, *LOWER])
def test_exact_maps_reach_the_bound_and_random_ones_do_not(text: str) -> None:
    bound = 1 if text in HIGHER else 0
    assert figures(text, EXACT) == pytest.approx(bound, abs=1e-9)
    for random in RANDOM:
        assert (abs(figures(text, random) - bound) > 0.02).all()


@pytest.mark.parametrize("name", DEPENDENCE)
def test_metrics_of_dependence_do_not_and_say_so(name: str) -> None:
    """Every pixel of this model matters to it, and half of them contribute nothing."""
    exact, random = figures(name, EXACT), figures(name, RANDOM[0])
    assert ((exact > random) if name == "non-sensitivity" else (exact < random)).any()
    assert "dependence, not contributions" in " ".join(describe("evaluate", name).description.split())
