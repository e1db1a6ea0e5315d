"""Uncertainty of an ensemble's predictions, and what is judged of it by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

from tests.conftest import Said, run_here
from tests.evaluate.questions import answers_of, ask
from tests.nets import small_net, some_images
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.files.checkpoint import read_meta
from xaicli.files.store import open_store
from xaicli.models.ensemble import Ensemble
from xaicli.models.load import load_classifier


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uncertain") / "three.safetensors"
    said = run_here(
        *(
            "train",
            "--data",
            "digits",
            "--arch",
            "mlp:hidden=16",
            "--epochs",
            "2",
            "--recipe",
            "ensemble:k=3",
            "-o",
            path,
        )
    )
    assert said.code == 0, said.err
    return path


@pytest.fixture(scope="module")
def judged(model: Path) -> Said:
    said = run_here("evaluate", model, "--unknown", "noise", "-n", "200", "-o", model.parent / "s.h5")
    assert said.code == 0, said.err
    return said


def of_members(model: Path, spec: str, rows: Any) -> np.ndarray:
    """The members' probabilities for some images, [members, n, K]."""
    images = torch.as_tensor(to_float(open_data(spec, shape=(1, 32, 32)).read(rows).pixels))
    network = load_classifier(model, uncertain=True)
    assert isinstance(network.network, Ensemble)
    with torch.no_grad():
        normal = (images - network.mean) / network.std
        return np.stack([member(normal).double().softmax(1).numpy() for member in network.network.networks])


def rows_of(here: Path, source: int) -> Any:
    with open_store(here) as store:
        origin, index = store.column("sources/0/uncertainty-origin"), store.column("index").astype(int)
    chosen = index[origin == source]
    return chosen - (source and 360)  # noise comes after the 360 digits


def test_entropy_and_mutual_information_of_every_source(model: Path, judged: Said) -> None:
    found = {r["metric"]: r for r in judged.records if r["kind"] == "metric" and "detector" not in r}
    assert found["uncertainty"]["n"] == 200
    for name, source, spec in (("", 0, "digits"), ("@noise", 1, "noise")):
        p = of_members(model, spec, rows_of(model.parent / "s.h5", source))
        whole, within = entropy(p.mean(0), axis=1), entropy(p, axis=2).mean(0)
        assert found[f"uncertainty{name}"]["value"] == pytest.approx(whole.mean(), rel=1e-4)
        shared = found[f"uncertainty-mutual-information{name}"]["value"]
        assert shared == pytest.approx((whole - within).mean(), rel=1e-3)


def test_detectors_are_those_of_the_mean_prediction(model: Path, judged: Said) -> None:
    found = {r["detector"]: r["value"] for r in judged.records if r.get("metric") == "open-set-auroc@noise"}
    assert [*found] == ["msp", "entropy"]
    known, noise = (
        of_members(model, spec, rows_of(model.parent / "s.h5", n)).mean(0) for n, spec in enumerate(("digits", "noise"))
    )
    truth = np.repeat([1, 0], 200)
    assert found["msp"] == pytest.approx(roc_auc_score(truth, [*known.max(1), *noise.max(1)]), abs=1e-4)
    scores = [*-entropy(known, axis=1), *-entropy(noise, axis=1)]
    assert found["entropy"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-4)
    own = {r["metric"]: r["value"] for r in judged.records if r["kind"] == "metric"}
    refused = -entropy(noise, axis=1) < read_meta(model)[0].rejection["threshold"]
    assert own["open-set-unknown-refused@noise"] == pytest.approx(refused.mean(), abs=0.006)


def test_calibration_is_that_of_the_mean_prediction(model: Path, judged: Said) -> None:
    p = of_members(model, "digits", rows_of(model.parent / "s.h5", 0)).mean(0)
    labels = open_data("digits").labels[rows_of(model.parent / "s.h5", 0)]
    found = {r["metric"]: r["value"] for r in judged.records if r["kind"] == "metric"}
    assert found["accuracy"] == pytest.approx((p.argmax(1) == labels).mean())
    assert found["calibration-nll"] == pytest.approx(-np.log(p[np.arange(200), labels]).mean(), rel=1e-4)


def test_an_ensemble_has_no_features_to_cluster_by(model: Path, call: Any, here: Path) -> None:
    said = call("evaluate", model, "-k", "clustering")
    assert said.code == 2 and "have no features in common to cluster by" in said.err


def test_networks_that_agree_share_all_their_information_with_the_data() -> None:
    net = small_net(3)
    images = some_images(5, net)
    net.network = Ensemble([net.network, net.network]).eval()
    found = ask("uncertainty", answers_of(net, images))
    p = net(images).exp().detach().numpy()
    assert found["uncertainty"] == pytest.approx(entropy(p, axis=1), abs=1e-9)
    assert found["uncertainty-mutual-information"] == pytest.approx(np.zeros(5), abs=1e-12)


def test_every_network_counts_as_a_forward(model: Path, call: Any, here: Path) -> None:
    said = call("evaluate", model, "-k", "accuracy", "-k", "uncertainty", "-n", "30", "--dry-run")
    assert said.record["forwards"] == 30 * 3 * 2  # the mean prediction, and every member by itself
