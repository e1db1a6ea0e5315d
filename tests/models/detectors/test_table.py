"""What all detectors have in common: state that is built again bit for bit, slopes, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch import nn

from tests.models.detectors.rows import CLASSES, WIDTH, asked, some_known
from xaicli.errors import InputError
from xaicli.models.detectors.detector import arrays_of
from xaicli.models.detectors.known import Known, known_rows
from xaicli.models.detectors.table import DETECTORS, PREFIX, detector_arrays, detector_options, fit, rebuild
from xaicli.models.head import Head

KNOWN = some_known()
FEATURES, LOGITS = asked(KNOWN)
SIZES = {"classes": CLASSES, "width": WIDTH}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_checkpoint_gives_the_same_detector_back(name: str) -> None:
    fitted = fit(name, KNOWN, {})
    arrays = detector_arrays(fitted)
    assert all(key.startswith(PREFIX) and value.dtype.kind == "f" for key, value in arrays.items())
    assert all(value.flags.c_contiguous for value in arrays.values())  # safetensors writes others in another order
    before = fitted.score(FEATURES, LOGITS)
    tensors = {**load(save(arrays)), "network.0.weight": np.zeros(3)}
    again = rebuild(name, json.loads(json.dumps(detector_options(fitted))), tensors, **SIZES)
    assert type(again) is type(fitted) and torch.equal(again.score(FEATURES, LOGITS), before)
    for value in (*arrays.values(), *tensors.values()):
        value.fill(7)
    assert torch.equal(again.score(FEATURES, LOGITS), before) and torch.equal(fitted.score(FEATURES, LOGITS), before)


@pytest.mark.parametrize("name", DETECTORS)
def test_scores_of_known_rows_are_higher(name: str) -> None:
    """The one sign: the second half of the rows lies near known ones, the first half does not."""
    scores = fit(name, KNOWN, {}).score(FEATURES, LOGITS)
    assert (scores[30:] > scores[:30].unsqueeze(1)).double().mean() > 0.8


@pytest.mark.parametrize("name", DETECTORS)
def test_a_score_has_its_slope(name: str) -> None:
    """By central differences, through the last layer as well: the score itself is explained."""
    fitted = fit(name, KNOWN, {})

    def score(features: torch.Tensor) -> torch.Tensor:
        return fitted.score(features, features @ KNOWN.weight.double().T + KNOWN.bias.double())

    features = FEATURES[::6].double().requires_grad_()
    (slope,) = torch.autograd.grad(score(features).sum(), features)
    direction = torch.randn(slope.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step = 1e-7 * direction
    with torch.no_grad():
        expected = (score(features + step) - score(features - step)) / 2e-7
    torch.testing.assert_close((slope * direction).sum(1), expected, rtol=1e-4, atol=1e-5)
    assert slope.abs().amax(1).min() > 1e-9


@pytest.mark.parametrize("name", DETECTORS)
def test_slopes_stay_finite_far_away_and_at_a_known_row(name: str) -> None:
    fitted = fit(name, KNOWN, {"k": 1} if name == "knn" else {})
    features = torch.stack([KNOWN.features[0], 1e4 * KNOWN.features[0], torch.zeros(WIDTH)]).double().requires_grad_()
    scores = fitted.score(features, features @ KNOWN.weight.double().T + KNOWN.bias.double())
    (slope,) = torch.autograd.grad(scores.sum(), features)
    assert scores.isfinite().all() and slope.isfinite().all()


@pytest.mark.parametrize("name", DETECTORS)
def test_a_row_has_its_score_whatever_is_beside_it(name: str) -> None:
    fitted = fit(name, KNOWN, {})
    alone = torch.cat([fitted.score(FEATURES[row : row + 1], LOGITS[row : row + 1]) for row in range(60)])
    torch.testing.assert_close(fitted.score(FEATURES, LOGITS), alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", DETECTORS)
def test_what_is_missing_or_does_not_fit_is_refused(name: str) -> None:
    fitted = fit(name, KNOWN, {})
    options, arrays = detector_options(fitted), detector_arrays(fitted)
    with pytest.raises(InputError, match=f"detector {name} of the checkpoint needs"):
        rebuild(name, options, {**arrays, f"{PREFIX}more": np.zeros(2)}, **SIZES)
    with pytest.raises(InputError, match="needs"):
        rebuild(name, {**options, "more": 1}, arrays, **SIZES)
    for key, value in arrays.items():
        mistyped = [value.astype(kind) for kind in (np.int64, np.float16)]
        shorter = [value[:-1] if key.endswith("residual") else value[..., :-1]] if value.ndim else []
        for bad in (value[None], *mistyped, *shorter):
            with pytest.raises(InputError, match=f"needs {key.removeprefix(PREFIX)}"):
                rebuild(name, options, {**arrays, key: bad}, **SIZES)
    for key in options:
        for worse in ("many", -1, None):
            with pytest.raises(InputError, match=f"another {key}"):
                rebuild(name, {**options, key: worse}, arrays, **SIZES)
    if "K" in {letter for shape in arrays_of(type(fitted)).values() for letter in shape}:
        with pytest.raises(InputError, match="needs"):
            rebuild(name, options, arrays, classes=CLASSES + 1, width=WIDTH)


def test_neighbours_that_a_checkpoint_lacks_are_refused() -> None:
    fitted = fit("knn", KNOWN, {})
    arrays = {key: value[:49] for key, value in detector_arrays(fitted).items()}
    with pytest.raises(InputError, match="the 50 nearest of 49"):
        rebuild("knn", detector_options(fitted), arrays, **SIZES)


@pytest.mark.parametrize("name", DETECTORS)
def test_all_arrays_move_together(name: str) -> None:
    fitted = fit(name, KNOWN, {})
    moved = fitted.to("meta")
    assert all(getattr(moved, key).is_meta for key in arrays_of(type(fitted)))
    assert detector_options(moved) == detector_options(fitted)
    assert moved.score(FEATURES.to("meta"), LOGITS.to("meta")).is_meta


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(InputError, match="'oracle' is no detector"):
        rebuild("oracle", {}, {}, **SIZES)


def with_rows(**changes: torch.Tensor) -> Known:
    layer = nn.Linear(WIDTH, CLASSES)
    rows = {"features": KNOWN.features, "logits": KNOWN.logits, "labels": KNOWN.labels} | changes
    return known_rows(rows["features"], rows["logits"], rows["labels"], Head("last", layer))


def test_an_unknown_row_never_gets_into_a_fit() -> None:
    for unknown in (CLASSES, 65535, -1):
        labels = KNOWN.labels.clone()
        labels[17] = unknown
        with pytest.raises(InputError, match=f"from 0 to 3, but one is {unknown};"):
            with_rows(labels=labels)


def test_rows_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="no known rows"):
        with_rows(labels=KNOWN.labels[:0])
    for name in ("features", "logits"):
        poisoned = getattr(KNOWN, name).clone()
        poisoned[5, 2] = torch.nan
        with pytest.raises(InputError, match="not finite"):
            with_rows(**{name: poisoned})


def test_a_layer_without_bias_has_one_of_zeros() -> None:
    layer = nn.Linear(WIDTH, CLASSES, bias=False)
    known = known_rows(KNOWN.features, KNOWN.logits, KNOWN.labels, Head("last", layer))
    assert known.bias.tolist() == [0] * CLASSES and not known.weight.requires_grad
    assert torch.equal(known.weight, layer.weight) and known.weight.data_ptr() != layer.weight.data_ptr()


@pytest.mark.parametrize("name", ["mahalanobis", "relative-mahalanobis", "openmax"])
def test_a_class_without_rows_is_refused(name: str) -> None:
    kept = KNOWN.labels != 2
    known = with_rows(features=KNOWN.features[kept], logits=KNOWN.logits[kept], labels=KNOWN.labels[kept])
    with pytest.raises(InputError, match="class 2"):
        fit(name, known, {})
