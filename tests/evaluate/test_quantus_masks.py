"""Equal to Quantus 0.6 where that is right: one channel, maps that it need not normalise, a baseline given as a number.

Its `black` is the smallest value of the batch, so the baseline is given; its infidelity is sum(I * phi) for every map.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, value
from tests.nets import small_net, some_images

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    quantus = pytest.importorskip("quantus")

NET = small_net(3, channels=1, side=8, dtype=torch.float32)
IMAGES = some_images(6, NET)
TARGET = NET(IMAGES).argmax(1)
MAPS = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(1))
MASK = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.3
PLAIN = {"disable_warnings": True, "display_progressbar": False, "normalise": False}


def theirs(make: Callable[..., Any], maps: torch.Tensor = MAPS, mask: bool = False, **options: Any) -> np.ndarray:
    """The metric's scores of arrays that it may write into."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = make(**{**PLAIN, "abs": False, **options})
        found = metric(
            model=NET,
            x_batch=IMAGES.numpy().copy(),
            y_batch=TARGET.numpy(),
            a_batch=maps.unsqueeze(1).numpy().copy(),
            softmax=False,
            **({"s_batch": MASK.unsqueeze(1).numpy().copy()} if mask else {}),
        )
    return np.array(found, dtype=float)


def ours(text: str, maps: torch.Tensor = MAPS) -> np.ndarray:
    return value(text, answers_of(NET, IMAGES, maps, mask=MASK))


def test_gini_entropy_and_effective_complexity() -> None:
    assert ours("gini") == pytest.approx(theirs(quantus.Sparseness, abs=True), abs=1e-6)
    assert ours("entropy") == pytest.approx(theirs(quantus.Complexity, abs=True), abs=1e-5)
    scaled = MAPS / MAPS.abs().amax((1, 2), keepdim=True)  # by row: its own normalisation takes the batch's largest
    complexity = theirs(quantus.EffectiveComplexity, scaled, abs=True, eps=0.1)
    assert ours("effective-complexity:eps=0.1").tolist() == complexity.tolist()


def test_localisation() -> None:
    assert ours("relevance-rank") == pytest.approx(theirs(quantus.RelevanceRankAccuracy, mask=True), abs=1e-9)
    assert ours("top-k-intersection:share=0.125") == pytest.approx(theirs(quantus.TopKIntersection, mask=True, k=8))
    assert ours("localisation-auc") == pytest.approx(theirs(quantus.AUC, mask=True), abs=1e-12)
    assert ours("relevance-mass", MAPS.abs()) == pytest.approx(
        theirs(quantus.RelevanceMassAccuracy, MAPS.abs(), mask=True), abs=1e-6
    )


def test_faithfulness_estimate() -> None:
    found = theirs(
        quantus.FaithfulnessEstimate,
        features_in_step=1,
        perturb_baseline=0.0,
        similarity_func=quantus.similarity_func.correlation_pearson,
    )
    assert ours("faithfulness-estimate:grid=all") == pytest.approx(found, abs=1e-5)


def test_faithfulness_correlation_within_what_its_draws_allow() -> None:
    draws = 2000
    found = theirs(
        quantus.FaithfulnessCorrelation,
        subset_size=16,
        nr_runs=draws,
        perturb_baseline=0.0,
        return_aggregate=False,
        similarity_func=quantus.similarity_func.correlation_pearson,
    )
    error = np.sqrt(2 / draws)  # of a difference of two estimates
    assert (np.abs(ours(f"faithfulness-correlation:share=0.25,draws={draws}") - found) < 4.5 * error).all()


def test_non_sensitivity_counts_the_same_pixels() -> None:
    half = MAPS.clone()
    half[:, :4] = 0
    found = theirs(quantus.NonSensitivity, half, abs=True, eps=1e-5, features_in_step=1, perturb_baseline="uniform")
    assert (64 * ours("non-sensitivity:grid=all", half)).tolist() == found.tolist() == [32] * 6
