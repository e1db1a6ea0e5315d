"""A row's scores depend on its job alone, and explainers are scored with the same perturbations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.questions import answers_of, ask
from tests.nets import small_net, some_images

NET = small_net(side=7)
IMAGES = some_images(9, NET)
MAPS = torch.randn(9, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).round(decimals=1)  # ties
MASKS = MAPS.roll(1, 2) > 0.5
INDEX = range(40, 49)
TEXTS = [
    *(f"deletion:baseline={b}" for b in ("black", "white", "mean", "blur", "noise", "salt-pepper")),
    "deletion:quantity=margin,steps=5",
    "insertion",
    "n-ord",
    "n-ord:steps=all",
    "average-drop",
    "average-drop:mask=binary",
    "increase-in-confidence",
    "pointing-game",
    "relevance-mass",
    "accuracy",
    "robust-accuracy",
    "perturbation",
]


def scored(texts: list[str], rows: list[int], batch_size: int = 4) -> dict[str, np.ndarray]:
    answers = answers_of(
        NET,
        IMAGES[rows],
        MAPS[rows],
        mask=MASKS[rows],
        clean=IMAGES[rows].flip(3),
        index=[INDEX[row] for row in rows],
        batch_size=batch_size,
    )
    return {f"{text}/{name}": figure for text in texts for name, figure in ask(text, answers).items()}


ALL = list(range(9))
WHOLE = {name: figure for text in TEXTS for name, figure in scored([text], ALL).items()}


def test_companions_do_not_change_a_bit() -> None:
    for order in (TEXTS, TEXTS[::-1]):
        for name, figure in scored(order, ALL).items():
            assert np.array_equal(figure, WHOLE[name], equal_nan=True), name


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, 8), min_size=1, max_size=9, unique=True))
def test_neighbours_order_and_block_cut_do_not_change_a_bit(rows: list[int]) -> None:
    for name, figure in scored(TEXTS, rows).items():
        assert np.array_equal(figure, WHOLE[name][rows], equal_nan=True), name


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batch_size_does_not_matter_to_1e_9(batch_size: int) -> None:
    for name, figure in scored(TEXTS, ALL, batch_size).items():
        assert figure == pytest.approx(WHOLE[name], abs=1e-9, nan_ok=True), name
