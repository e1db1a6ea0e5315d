"""A checkpoint's detector: asked of one pass, compared in float64, and believed only when it makes sense."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.nets import small_net, some_images
from xaicli.errors import InputError
from xaicli.files.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from xaicli.models.detectors.logits import max_logit
from xaicli.models.detectors.neighbours import knn
from xaicli.models.detectors.table import DETECTORS, is_fitted, kind_of
from xaicli.run.calls import Calls
from xaicli.run.posterior import open_calls
from xaicli.run.rejection import Rejector, rejector_of
from xaicli.run.settings import Settings


def some_calls(rows: int = 4) -> tuple[Calls, torch.Tensor]:
    net = small_net()
    return Calls(net, batch_size=rows), some_images(10, net)


def test_scores_are_the_detectors_of_what_the_network_makes_of_the_images() -> None:
    calls, images = some_calls()
    logits, features = calls.features(images)
    near = knn(features[:5], k=2)
    for detector in (max_logit(), near):
        calls.forwards = 0
        scores = Rejector(detector, 0.0).scores(calls, images)
        assert scores.dtype == torch.float64 and calls.forwards == 10
        torch.testing.assert_close(scores, detector.score(features, logits), rtol=1e-12, atol=1e-12)


def test_a_network_without_a_last_layer_has_logits_all_the_same() -> None:
    calls, images = some_calls()
    calls.classifier.network = torch.nn.Sequential(calls.classifier.network, torch.nn.Tanh())
    assert Rejector(max_logit(), 0.0).scores(calls, images).tolist() == calls.logits(images).double().amax(1).tolist()


def test_rows_are_kept_from_the_threshold_on_in_double_precision() -> None:
    threshold = 0.1 + 1e-12  # in float32 the same as 0.1
    rejector = Rejector(max_logit(), threshold)
    scores = np.array([0.1, threshold, 1e300, np.inf, np.nan, -1.0])
    assert rejector.keeps(scores).tolist() == [False, True, True, True, False, False]
    assert rejector.keeps(torch.as_tensor(scores)).tolist() == [False, True, True, True, False, False]


def test_only_logits_are_asked_for_where_they_are_all_that_counts() -> None:
    named = {name for name in DETECTORS if not kind_of(name).needs_features}
    assert named == {"msp", "max-logit", "energy", "entropy", "openmax"}
    assert {name for name in DETECTORS if not is_fitted(name)} == named - {"openmax"}


@pytest.fixture(scope="module")
def refusing(call: Any, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("refusing") / "m.safetensors"
    small = ("--arch", "mlp:hidden=8", "--epochs", "1", "--batch-size", "400")
    said = call("train", "--data", "digits", *small, "--detector", "mahalanobis:tpr=0.8", "-o", path)
    assert said.code == 0, said.err
    return read_checkpoint(path)


def opened(checkpoint: Checkpoint) -> Rejector | None:
    return rejector_of(checkpoint, open_calls(checkpoint, device="cpu", settings=Settings()))


def test_a_checkpoint_without_rejection_always_answers(files: Any) -> None:
    assert opened(read_checkpoint(files.checkpoint)) is None


def test_a_checkpoint_gives_its_detector_back(refusing: Checkpoint) -> None:
    found = opened(refusing)
    assert found is not None and refusing.meta.rejection is not None
    assert found.threshold == refusing.meta.rejection["threshold"]
    means = refusing.tensors["xaicli.detector.means"]
    assert means.shape == (10, 8) and np.array_equal(found.detector.means, means)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"threshold": None}, "is damaged; train the model again."),
        ({"threshold": "0.5"}, "is damaged; train the model again."),
        ({"options": None}, "is damaged; train the model again."),
        ({"detector": None}, "is damaged; train the model again."),
        ({"detector": "nothing"}, "'nothing' is no detector"),
        ({"detector": "knn", "options": {"k": 3}}, "the detector knn of the checkpoint needs rows"),
    ],
)
def test_what_makes_no_sense_is_refused(
    change: dict[str, Any], sentence: str, refusing: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.safetensors"
    meta = replace(refusing.meta, rejection={**(refusing.meta.rejection or {}), **change})
    write_checkpoint(path, refusing.tensors, meta)
    with pytest.raises(InputError, match=sentence):
        opened(read_checkpoint(path))
