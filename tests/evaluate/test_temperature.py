"""The temperature of least cross-entropy: in closed form, by L-BFGS, by scikit-learn, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from xaicli.evaluate.temperature import fit_temperature


def some_logits(n: int = 400, classes: int = 5, sharpness: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a model that says `sharpness` times the truth."""
    generator = torch.Generator().manual_seed(classes)
    truth = torch.randn(n, classes, dtype=torch.float64, generator=generator) * 2
    labels = torch.multinomial(truth.softmax(1), 1, generator=generator).squeeze(1)
    return sharpness * truth, labels


@pytest.mark.parametrize(("right", "n"), [(3, 4), (9, 10), (501, 1000)])
@pytest.mark.parametrize("gap", [2.0, 1e4, 1e-3])
def test_two_classes_in_closed_form(right: int, n: int, gap: float) -> None:
    """sigmoid(gap / T) is the accuracy."""
    logits = torch.tensor([[gap, 0.0]], dtype=torch.float64).repeat(n, 1)
    labels = (torch.arange(n) >= right).long()
    expected = gap / math.log(right / (n - right))
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 5, 100])
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 3.0])
def test_against_l_bfgs(classes: int, sharpness: float) -> None:
    logits, labels = some_logits(classes=classes, sharpness=sharpness)
    log_t = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [log_t], max_iter=200, tolerance_grad=1e-14, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / log_t.exp(), labels)
        value.backward()
        return value

    solver.step(loss)
    assert fit_temperature(logits, labels) == pytest.approx(log_t.exp().item(), rel=1e-6)


class Said(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its logits."""

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> Said:
        self.classes_ = np.unique(labels)
        return self

    def decision_function(self, logits: np.ndarray) -> np.ndarray:
        return logits

    def predict(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(1)


def test_against_scikit_learn() -> None:
    logits, labels = some_logits(sharpness=2.0)
    z, y = logits.numpy(), labels.numpy()
    model = CalibratedClassifierCV(FrozenEstimator(Said().fit(z, y)), method="temperature", ensemble=False).fit(z, y)
    ours = (logits / fit_temperature(logits, labels)).softmax(1).numpy()
    assert ours == pytest.approx(model.predict_proba(z), abs=1e-4)  # its own tolerance


def test_logits_of_any_size_and_any_offset_scale_the_temperature() -> None:
    logits, labels = some_logits()
    one = fit_temperature(logits, labels)
    for factor in (1e-6, 1e4, 1e30):
        assert fit_temperature(logits * factor, labels) == pytest.approx(one * factor, rel=1e-9)
    offset = 1e4 * torch.randn(len(logits), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert fit_temperature(logits + offset, labels) == pytest.approx(one, rel=1e-9)
    assert fit_temperature(logits.float(), labels) == pytest.approx(one, rel=1e-6)


def test_no_temperature_is_best_where_every_row_is_right_or_where_the_logits_tell_nothing() -> None:
    logits, _ = some_logits()
    assert math.isnan(fit_temperature(logits, logits.argmax(1)))
    assert math.isnan(fit_temperature(logits, logits.argmin(1)))
    assert math.isnan(fit_temperature(torch.zeros(8, 3), torch.arange(8) % 3))
    assert math.isnan(fit_temperature(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([1])))  # never below log 2
