"""Open sets from end to end: digits of which some are left out, every figure against one that is computed apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_ood import detector as library
from pytorch_ood.metrics.functional import oscr_score
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, roc_curve

from tests.conftest import Said, run_here
from xaicli.data.dataset import to_float
from xaicli.data.digits import Digits
from xaicli.data.open import open_data
from xaicli.evaluate.detection import FIGURES, detection_figures
from xaicli.evaluate.open_set import NAMES, figures
from xaicli.files.checkpoint import read_checkpoint, read_meta, write_checkpoint
from xaicli.files.store import open_store
from xaicli.models.load import load_classifier

KNOWN = (0, 1, 2, 4, 6, 7, 9)
SETTINGS = ("--arch", "mlp:hidden=24", "--epochs", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("open") / "seven.safetensors"
    said = run_here("train", "--data", "digits", *SETTINGS, "--known", ",".join(map(str, KNOWN)), "-o", path)
    assert said.code == 0, said.err
    return path


@pytest.fixture(scope="module")
def judged(model: Path) -> Said:
    where = model.parent / "scores.h5"
    metrics = (part for name in ("accuracy", "open-set", "selective") for part in ("-k", name))
    said = run_here("evaluate", model, "--unknown", "noise", *metrics, "-o", where)
    assert said.code == 0, said.err
    return said


class Asked:
    """What the network says, extracted by hand: features, logits and labels of some images."""

    def __init__(self, model: Path, images: np.ndarray, labels: np.ndarray) -> None:
        network = load_classifier(model)
        seen: list[torch.Tensor] = []
        last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
        handle = last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        with torch.no_grad():
            self.logits = network(torch.as_tensor(to_float(images))).double()
        handle.remove()
        self.features, self.labels, self.last = seen[0].double(), torch.as_tensor(labels), last


def rows_of(model: Path, split: str, *, known: bool) -> Asked:
    data = open_data("digits", split=split)
    chosen = np.flatnonzero(np.isin(data.labels, KNOWN) == known)
    numbers = [KNOWN.index(label) if known else 65535 for label in data.labels[chosen]]
    return Asked(model, data.read(chosen).pixels, np.array(numbers))


def noise(model: Path) -> Asked:
    data = open_data("noise", shape=(1, 32, 32))
    return Asked(model, data.read(range(1000)).pixels, np.full(1000, 65535))


def value(said: Said, metric: str, detector: str | None = None) -> dict[str, Any]:
    (found,) = [r for r in said.records if r.get("metric") == metric and r.get("detector") == detector]
    return found


def by_hand(detector: str, model: Path, rows: Asked) -> np.ndarray:
    """A detector's scores by the library, or in numpy, fitted on the known rows of `fit`."""
    fit = rows_of(model, "fit", known=True)
    if detector == "max-logit":
        return rows.logits.amax(1).numpy()
    if detector == "energy":
        return -library.EnergyBased(None).predict_logits(rows.logits).numpy()
    if detector == "knn":
        return -library.KNN(None, k=50).fit_features(fit.features, fit.labels).predict_features(rows.features).numpy()
    means = np.stack([fit.features[fit.labels == label].mean(0) for label in range(len(KNOWN))])
    centred = fit.features.numpy() - means[fit.labels]
    shared = centred.T @ centred / len(centred)
    inverse = np.linalg.inv(shared + 1e-6 * np.diag(shared).mean() * np.eye(len(shared)))
    gaps = rows.features.numpy()[:, None] - means
    return -np.einsum("nkd,de,nke->nk", gaps, inverse, gaps).min(1)


@pytest.mark.parametrize("detector", ["max-logit", "energy", "knn", "mahalanobis"])
@pytest.mark.parametrize("source", ["left-out", "noise"])
def test_figures_of_detectors(model: Path, judged: Said, detector: str, source: str) -> None:
    known = rows_of(model, "test", known=True)
    unknown = rows_of(model, "test", known=False) if source == "left-out" else noise(model)
    above, below = (by_hand(detector, model, rows).astype(np.float32) for rows in (known, unknown))
    truth, scores = np.repeat([1, 0], [len(above), len(below)]), np.concatenate([above, below])
    right = (known.logits.argmax(1) == known.labels).numpy()
    said = {part: value(judged, f"open-set-{part}@{source}", detector)["value"] for part in FIGURES}
    assert said["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-4)
    assert said["aupr-in"] == pytest.approx(average_precision_score(truth, scores), abs=1e-3)
    assert said["aupr-out"] == pytest.approx(average_precision_score(1 - truth, -scores), abs=1e-3)
    false, true, _ = roc_curve(truth, scores)
    assert said["fpr95-unknown-kept"] == pytest.approx(false[true >= 0.95 - 1e-9].min(), abs=0.011)
    false, true, _ = roc_curve(1 - truth, -scores)
    assert said["fpr95-known-refused"] == pytest.approx(false[true >= 0.95 - 1e-9].min(), abs=0.011)
    wins = [
        (one > below).mean() + (one == below).mean() / 2 if hit else 0 for one, hit in zip(above, right, strict=True)
    ]
    assert said["oscr"] == pytest.approx(np.mean(wins), abs=1e-4)
    predicted = np.concatenate([known.logits.argmax(1), unknown.logits.argmax(1)])
    labels = np.concatenate([known.labels, -np.ones(len(below), dtype=int)])
    theirs = oscr_score(torch.tensor(-scores), torch.tensor(predicted), torch.tensor(labels))
    assert said["oscr"] == pytest.approx(float(theirs), abs=0.01)  # the library's sum has steps of a row


def test_the_checkpoints_own_decisions(model: Path, judged: Said) -> None:
    rejection = read_meta(model)[0].rejection
    known = rows_of(model, "test", known=True)
    kept = by_hand("max-logit", model, known) >= rejection["threshold"]
    right = (known.logits.argmax(1) == known.labels).numpy()
    assert value(judged, "open-set-closed-accuracy")["value"] == pytest.approx(right.mean())
    assert value(judged, "accuracy")["value"] == pytest.approx(right.mean())
    assert value(judged, "accuracy")["n"] == len(right) and value(judged, "accuracy")["undefined"] == 0
    assert value(judged, "open-set-known-kept")["value"] == pytest.approx(kept.mean())
    for source, rows in (("left-out", rows_of(model, "test", known=False)), ("noise", noise(model))):
        refused = by_hand("max-logit", model, rows) < rejection["threshold"]
        truth, decided = np.repeat([1, 0], [len(kept), len(refused)]), np.concatenate([kept, ~refused])
        assert value(judged, f"open-set-unknown-refused@{source}")["value"] == pytest.approx(refused.mean())
        balanced = value(judged, f"open-set-balanced-accuracy@{source}")["value"]
        assert balanced == pytest.approx(balanced_accuracy_score(truth, decided))
        plain = value(judged, f"open-set-known-or-unknown-accuracy@{source}")
        assert plain["value"] == pytest.approx((truth == decided).mean())
        assert plain["details"]["always_known"] == pytest.approx(len(kept) / len(truth))
        own = value(judged, f"open-set@{source}")
        assert own["details"]["detector"] == "max-logit"
        assert own["value"] == value(judged, f"open-set-auroc@{source}", "max-logit")["value"]
        assert value(judged, f"selective-unknown-refused@{source}")["value"] == pytest.approx(refused.mean())
    assert value(judged, "selective-coverage")["value"] == pytest.approx(kept.mean())
    assert value(judged, "selective-accuracy")["value"] == pytest.approx(right[kept].mean())
    assert value(judged, "selective-forced-accuracy")["value"] == pytest.approx(right.mean())
    order = np.argsort(-by_hand("max-logit", model, known))
    risks = (~right[order]).cumsum() / np.arange(1, len(right) + 1)
    assert value(judged, "selective")["value"] == pytest.approx(risks.mean(), abs=1e-6)


def test_every_detector_is_judged_and_scores_of_every_row_are_kept(model: Path, judged: Said) -> None:
    found = [r["detector"] for r in judged.records if r.get("metric") == "open-set-auroc@left-out"]
    assert found == [*NAMES]
    with open_store(model.parent / "scores.h5") as store:
        assert len(store) == 360 + 1000 and store.job["open"]["known"] == [*KNOWN]
        origin = store.column("sources/0/open-set-origin")
        scores, right = (store.column(f"sources/0/open-set-{name}") for name in ("odin", "right"))
        assert np.isnan(right[origin > 0]).all() and (store.column("label")[origin > 0] == 65535).all()
        known = origin == 0
        again = detection_figures(scores[known], right[known] > 0, scores[origin == 2])
    for part, estimate in again.items():
        record = value(judged, f"open-set-{part}@noise", "odin")
        assert (record["value"], record["low"], record["high"]) == (estimate.value, estimate.low, estimate.high)


def test_unknown_data_can_be_judged_by_a_model_that_knows_all_its_classes(files: Any, call: Any, here: Path) -> None:
    said = call("evaluate", files.checkpoint, "-k", "open-set", "--unknown", "noise", "-n", "40", "-o", "s.h5")
    assert said.code == 0, said.err
    names = {record["metric"] for record in said.records if record["kind"] == "metric"}
    assert names == {"open-set-closed-accuracy", *(f"open-set-{part}@noise" for part in FIGURES)}
    assert value(said, "open-set-auroc@noise", "knn")["n"] == 80
    again = call("evaluate", "s.h5")
    assert [r["value"] for r in again.records] == [r["value"] for r in said.records if r["kind"] == "metric"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-k", "open-set"), "knows all classes of 'digits'; name what it does not know with --unknown"),
        (("-k", "uncertainty"), "is one network and has no uncertainty"),
        (("-k", "clustering"), "refuses nothing that could be clustered"),
        (("-k", "accuracy", "--unknown", "noise"), "none of the metrics looks at unknown rows; leave --unknown out"),
    ],
)
def test_what_says_nothing_is_refused(files: Any, call: Any, here: Path, arguments: Any, sentence: str) -> None:
    said = call("evaluate", files.checkpoint, *arguments)
    assert said.code == 2 and sentence in said.err
    for other in (files.images, files.scores):
        wrong = call("evaluate", other, "--unknown", "noise")
        assert wrong.code == 2 and "--unknown is for judging checkpoints" in wrong.err


def test_what_is_judged_unless_metrics_are_named(model: Path, files: Any, call: Any, here: Path) -> None:
    few = ("-n", "30", "-o")
    known = call("evaluate", model, *few, "k.h5")
    names = dict.fromkeys(r["metric"].partition("-")[0].partition("@")[0] for r in known.records[1:])
    assert [*names] == ["accuracy", "calibration", "selective", "open"]
    plain = call("evaluate", files.checkpoint, *few, "p.h5", "--unknown", "noise")
    assert {r["metric"].partition("-")[0] for r in plain.records[1:]} == {"accuracy", "calibration", "open"}


def test_shards_merge_to_the_same_bytes(model: Path, call: Any, here: Path) -> None:
    command = ("evaluate", model, "-k", "open-set", "-k", "clustering", "-n", "60", "--block", "32")
    assert call(*command, "-o", "whole.h5").code == 0
    for shard in ("1/2", "2/2"):
        assert call(*command, "--shard", shard, "-o", "parts.h5").code == 0
    assert call("store", "merge", "parts.h5").code == 0
    assert (here / "parts.h5").read_bytes() == (here / "whole.h5").read_bytes()


def columns_of(scores: np.ndarray, origin: np.ndarray, **detectors: np.ndarray) -> dict[str, np.ndarray]:
    missing = np.full(len(scores), np.nan)
    right = np.where(origin == 0, 1.0, np.nan)
    same = {"": scores, "origin": origin, "right": right, "kept": (scores >= 0).astype(float)}
    return {**dict.fromkeys(NAMES, missing), **same, **detectors}


def test_a_score_that_is_no_number_is_the_least_known_and_a_detector_without_any_is_left_out() -> None:
    scores, origin = np.array([0.5, -0.5, np.nan, 0.2, -1.0, -np.inf]), np.array([0.0, 0, 0, 1, 1, 1])
    facts = {"unknown": [{"name": "noise"}], "detector": "msp"}
    (found,) = figures([columns_of(scores, origin, msp=scores)], [facts], {}, 0)
    wins = 3 + 2 + 0.5  # of nine pairs: the second is above two, and the last is beaten by two of three
    said = {(one.detector, one.part): one.estimate.value for one in found}
    assert said[None, ""] == said["msp", "auroc"] == pytest.approx(wins / 9)
    assert {one.detector for one in found} == {None, "msp"}
    assert said[None, "known-kept"] == 1 / 3 and said[None, "unknown-refused"] == 2 / 3
    assert said[None, "balanced-accuracy"] == pytest.approx(1 / 2)


def test_detectors_that_need_a_fit_are_left_out_where_nobody_knows_the_training(
    files: Any, call: Any, here: Path
) -> None:
    held = read_checkpoint(files.checkpoint)
    write_checkpoint(here / "foreign.safetensors", held.tensors, replace(held.meta, data=None))
    few = ("--unknown", "noise", "-k", "open-set", "-n", "30", "-o", "s.h5")
    said = call("evaluate", "foreign.safetensors", "--data", "digits", *few)
    found = [record["detector"] for record in said.records if record.get("metric") == "open-set-auroc@noise"]
    assert found == ["msp", "max-logit", "energy", "entropy", "odin"]
    assert "'foreign.safetensors' is judged by those detectors alone that need no fit: nothing says what" in said.err


def test_no_row_of_an_unknown_class_is_read_for_a_fit(
    model: Path, call: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {"fit": set(), "val": set(), "test": set()}
    read = Digits.read

    def watched(self: Digits, positions: Any) -> Any:
        seen[self.split] |= {*self.labels[np.asarray(positions)].tolist()}
        return read(self, positions)

    monkeypatch.setattr(Digits, "read", watched)
    said = call("evaluate", model, "-k", "open-set", "-k", "calibration", "-k", "clustering", "-n", "60", "-o", "s.h5")
    assert said.code == 0, said.err
    assert seen == {"fit": {*KNOWN}, "val": {*KNOWN}, "test": {*range(10)}}
