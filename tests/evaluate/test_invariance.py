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
    *(f"deletion:baseline={b}" for b in ("black", "white", "mean", "blur", "noise", "salt-pepper", "road")),
    "deletion:quantity=margin,steps=5",
    "insertion",
    "n-ord",
    "n-ord:steps=all",
    "s-ord:steps=all",
    "tpn:steps=all",
    "tps",
    "pixel-flipping",
    "selectivity:grid=3",
    "morf:segments=9",
    "lerf:grid=2",
    "aopc:quantity=log-probability",
    "abpc:grid=4,steps=7",
    "srg:segments=9",
    "irof:segments=12",
    "monotonicity",
    "keep-top:share=0.25",
    "remove-top:baseline=road",
    "road",
    "road:score=accuracy",
    "sic:steps=20",
    "aic:steps=20,baseline=mean",
    "average-gain",
    "average-drop",
    "average-drop:mask=binary",
    "increase-in-confidence",
    "infidelity:draws=7",
    "faithfulness-correlation:draws=7,baseline=noise",
    "faithfulness-correlation:draws=7,grid=3",
    "mu-fidelity:draws=7",
    "sensitivity-n:draws=7,shares=0.1,0.4",
    "faithfulness-estimate:grid=3,baseline=blur",
    "monotonicity-correlation:grid=4,draws=2",
    "sensitivity-max:draws=2",
    "local-lipschitz:draws=2",
    "ris:draws=2",
    "ros:draws=2",
    "rrs:draws=2",
    "mprt:stages=2",
    "smprt:stages=1,n=2",
    "emprt",
    "random-logit",
    "input-invariance",
    "adcc",
    "agreement:top=0.2",
    "gini",
    "entropy",
    "effective-complexity:eps=0.5",
    "completeness",
    "non-sensitivity:grid=3",
    "pointing-game",
    "relevance-mass",
    "relevance-rank",
    "top-k-intersection:share=0.1",
    "localisation-auc",
    "accuracy",
    "calibration:bins=10",
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
        other=MAPS[rows].flip(2) ** 3,
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
