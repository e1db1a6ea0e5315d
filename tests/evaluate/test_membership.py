"""Attacks on membership: the likelihood ratio by the formulas of its paper, on models that leak or do not."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy.stats import norm

from tests.evaluate.questions import answers_of, ask
from tests.nets import small_net, some_images
from xaicli.evaluate.membership import figures, likelihood_ratios, one_threshold
from xaicli.evaluate.separation import true_positives
from xaicli.evaluate.trained import Trained, TrainedRows, confidence

NORMAL = NormalDist()


def test_confidence_is_the_logit_of_the_trained_class_and_never_rounds_to_infinity() -> None:
    logits = torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 7
    found = confidence(logits, Trained(labels, labels > 3))
    p = logits.softmax(1)[torch.arange(50), labels]
    assert torch.allclose(found, (p / (1 - p)).log(), atol=1e-12)
    sure = torch.tensor([[90.0, 0.0, -1.0]])  # p rounds to 1, and its logit to infinity
    (value,) = confidence(sure, Trained(torch.tensor([0]), torch.tensor([True])))
    assert value.item() == pytest.approx(90 - np.log(1 + np.exp(-1)), abs=1e-9)
    assert confidence(sure, Trained(torch.tensor([65535]), torch.tensor([True]))).isnan().all()


def test_rows_find_what_the_training_says_of_them() -> None:
    rows = TrainedRows(np.array([3, 8, 11]), np.array([1, 0, 2]), np.array([True, False, True]))
    found = rows.of(np.array([8, 11]), torch.device("cpu"))
    assert found.labels.tolist() == [0, 2] and found.included.tolist() == [False, True]


def test_the_likelihood_ratio_by_the_formulas_of_the_paper() -> None:
    rng = np.random.default_rng(3)
    bits = rng.integers(2, size=(6, 40)).astype(bool)
    bits[1:, 0], bits[1:, 1] = True, False  # rows that all shadows were trained on, and none
    values = rng.normal(size=(6, 40)) * (1 + bits) + 2 * bits
    found = likelihood_ratios(values, bits, 0)
    residuals: dict[bool, list[float]] = {True: [], False: []}
    freedom = {True: 0, False: 0}
    means = np.full((2, 40), np.nan)
    for row in range(40):
        for kind in (True, False):
            own = [values[model, row] for model in range(1, 6) if bits[model, row] == kind]
            if own:
                means[int(kind), row] = np.mean(own)
                residuals[kind] += [value - np.mean(own) for value in own]
                freedom[kind] += len(own) - 1
    for row in range(40):
        kinds = {
            kind: norm.logpdf(
                values[0, row], means[int(kind), row], np.sqrt(np.sum(np.square(residuals[kind])) / freedom[kind])
            )
            for kind in (True, False)
        }
        assert found[row] == pytest.approx(kinds[True] - kinds[False], abs=1e-9, nan_ok=True)
    assert np.flatnonzero(np.isnan(found)).tolist() == [row for row in range(40) if len({*bits[1:, row]}) == 1]
    assert {0, 1} <= {*np.flatnonzero(np.isnan(found))}


def test_one_threshold_lies_in_the_middle() -> None:
    values = np.array([[4.0, 0.0, 1.0, 2.0, np.nan]])
    bits = np.array([[True, True, False, False, True]])
    assert one_threshold(values, bits, 0) == pytest.approx([2.25, -1.75, -0.75, 0.25, np.nan], nan_ok=True)
    assert np.isnan(one_threshold(values, np.ones_like(bits), 0)).all()


def columns_of(values: np.ndarray, bits: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{"": one, "included": own.astype(float)} for one, own in zip(values, bits, strict=True)]


def told(values: np.ndarray, bits: np.ndarray, rows: str) -> list[dict]:
    found = figures(columns_of(values, bits), [{"rows": rows}] * len(values), {}, 0)
    return [{figure.part: figure for figure in one} for one in found]


def test_models_of_known_memory_are_attacked_as_well_as_theory_allows() -> None:
    """Confidences are N(hardness + 2 [trained on], 1): shadows remove the hardness, one threshold cannot."""
    rng = np.random.default_rng(5)
    bits = rng.integers(2, size=(150, 20_000)).astype(bool)
    values = rng.normal(size=bits.shape) + 2 * bits + 5 * rng.normal(size=20_000)
    ratios = likelihood_ratios(values, bits, 0)
    best = {share: 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - share) - 2) for share in (0.001, 0.01)}  # who knows the hardness
    for share, tolerance in ((0.001, 0.03), (0.01, 0.02)):
        assert true_positives(ratios[bits[0]], ratios[~bits[0]], share).value == pytest.approx(
            best[share], abs=tolerance
        )
    assert np.mean((ratios > 0) == bits[0]) == pytest.approx(NORMAL.cdf(1), abs=0.01)
    few = told(values[:8, :4000], bits[:8, :4000], "canaries")[3]
    assert 0.85 < few["auc"].estimate.value < NORMAL.cdf(2 / 2**0.5)
    assert few[""].details["variant"] == "likelihood ratio" and few[""].details["shadows"] == 7
    alone = told(values[:1], bits[:1], "split")[0]
    assert alone["auc"].estimate.value == pytest.approx(NORMAL.cdf(2 / (2 * 26) ** 0.5), abs=0.015)
    assert alone[""].details == {
        "variant": "one threshold",
        "shadows": 0,
        "members": int(bits[0].sum()),
        "others": int((~bits[0]).sum()),
    }


def test_models_that_never_saw_the_rows_are_attacked_by_chance() -> None:
    rng = np.random.default_rng(6)
    bits = rng.integers(2, size=(6, 2400)).astype(bool)
    values = rng.normal(size=(6, 2400)) + rng.normal(size=2400)
    everyone = [*told(values, bits, "canaries"), *told(values[:1], bits[:1], "split")]
    for one in everyone:
        assert one["auc"].estimate.value == pytest.approx(0.5, abs=0.05)
        assert one["balanced-accuracy"].estimate.value == pytest.approx(0.5, abs=0.05)
        assert one[""].estimate.value < 0.01
    assert np.mean([one["auc"].estimate.low < 0.5 < one["auc"].estimate.high for one in everyone]) > 0.6


def test_rows_without_a_ratio_are_counted_and_small_sets_see_no_small_rates() -> None:
    rng = np.random.default_rng(7)
    bits = rng.integers(2, size=(4, 600)).astype(bool)
    (first, *_) = told(rng.normal(size=(4, 600)), bits, "canaries")
    missing = int((bits[1:].all(0) | ~bits[1:].any(0)).sum())
    assert first["auc"].estimate.undefined == first[""].estimate.undefined == missing > 100
    assert first["auc"].estimate.n == 600 - missing and first[""].estimate.value is None
    assert first["at-1-percent"].estimate.value is not None


def test_the_rows_columns_are_confidence_and_bit() -> None:
    net = small_net(2)
    images = some_images(6, net)
    labels, included = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([True, False, True, False, True, False])
    answers = answers_of(net, images).within({"trained": Trained(labels, included)})
    p = net(images).softmax(1)[torch.arange(6), labels].detach().numpy()
    for name in ("membership", "audit"):
        found = ask(name, answers)
        assert found[name] == pytest.approx(np.log(p / (1 - p)), abs=1e-6)
        assert found[f"{name}-included"].tolist() == [1, 0, 1, 0, 1, 0]
