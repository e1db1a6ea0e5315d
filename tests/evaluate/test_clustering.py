"""Clusters of refused rows against scikit-learn, an assignment by all permutations, and what is said of too few."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from tests.conftest import Files, Said, run_here
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.evaluate.clustering import described, figures, statement
from xaicli.evaluate.clusters import NONE
from xaicli.files.checkpoint import read_meta
from xaicli.files.store import open_store
from xaicli.models.load import load_classifier

KNOWN = (0, 1, 2, 3, 4, 5, 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clusters") / "seven.safetensors"
    said = run_here(
        *("train", "--data", "digits", "--arch", "mlp:hidden=24", "--epochs", "4", "--known", "0,1,2,3,4,5,6"),
        *("--detector", "mahalanobis:tpr=0.9", "-o", path),
    )
    assert said.code == 0, said.err
    return path


def judged(model: Path, *arguments: str) -> Said:
    said = run_here("evaluate", model, *arguments, "-o", model.parent / "s.h5", "--force")
    assert said.code == 0, said.err
    return said


def test_figures_against_features_that_are_clustered_by_hand(model: Path) -> None:
    said = judged(model, "-k", "clustering:clusters=3")
    found = {record["metric"]: record for record in said.records if record["kind"] == "metric"}
    with open_store(model.parent / "s.h5") as store:
        ours, classes = (store.column(f"sources/0/clustering{part}") for part in ("", "-class"))
    refused = np.isfinite(ours)
    assert (np.isfinite(classes) == refused).all() and 30 < refused.sum() == found["clustering"]["n"]
    data = open_data("digits")
    assert classes[refused].tolist() == data.labels[refused].tolist()
    network, seen = load_classifier(model), []
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.as_tensor(to_float(data.read(np.flatnonzero(refused)).pixels)))
    theirs = KMeans(3, n_init=10, random_state=0).fit_predict(seen[0].detach().double().numpy())
    labels = data.labels[refused]
    assert found["clustering-nmi"]["value"] == pytest.approx(normalized_mutual_info_score(labels, theirs), abs=1e-9)
    assert found["clustering-ari"]["value"] == pytest.approx(adjusted_rand_score(labels, theirs), abs=1e-9)
    best = max(
        sum(((theirs == cluster) & (labels == chosen)).sum() for cluster, chosen in enumerate(order))
        for order in permutations(range(10), 3)
    )
    assert found["clustering"]["value"] == pytest.approx(best / len(labels))
    assert found["clustering-clusters"]["value"] == 3
    assert found["clustering-clusters"]["details"] == {"classes": len(np.unique(labels))}
    assert "rows fall into 3 clusters" in said.err


def test_what_is_refused_is_what_the_threshold_refuses(model: Path) -> None:
    judged(model, "-k", "clustering", "-k", "open-set", "--unknown", "noise")
    with open_store(model.parent / "s.h5") as store:
        clustered = np.isfinite(store.column("sources/0/clustering"))
        kept, score = (store.column(f"sources/0/open-set{part}") for part in ("-kept", ""))
        classes, origin = (store.column(f"sources/0/{part}") for part in ("clustering-class", "open-set-origin"))
    assert (clustered == (kept == 0)).all()
    threshold = read_meta(model)[0].rejection["threshold"]
    assert score[kept > 0].min() >= np.float32(threshold) >= score[kept == 0].max()
    assert {*classes[clustered & (origin == 2)]} == {10.0}  # noise is a class of its own


@pytest.mark.parametrize("algorithm", ["dp-gmm", "agglomerative", "hdbscan"])
def test_every_algorithm_has_its_clusters(model: Path, algorithm: str) -> None:
    said = judged(model, "-k", f"clustering:algorithm={algorithm}")
    found = {record["metric"]: record for record in said.records if record["kind"] == "metric"}
    clusters = found["clustering"]["details"]["clusters"]
    assert sum(one["rows"] for one in clusters) == found["clustering"]["n"]
    assert found["clustering-clusters"]["value"] == len([one for one in clusters if one["cluster"] != NONE]) > 1
    assert found["clustering"]["value"] <= 1 and found["clustering"]["options"]["algorithm"] == algorithm


def test_all_rows_of_unknown_classes_instead_of_those_refused(model: Path, files: Files) -> None:
    judged(model, "-k", "clustering:rows=unknown,clusters=3")
    with open_store(model.parent / "s.h5") as store:
        classes = store.column("sources/0/clustering-class")
    labels = open_data("digits").labels
    assert (np.isfinite(classes) == ~np.isin(labels, KNOWN)).all()
    said = run_here("evaluate", files.checkpoint, "-k", "clustering:rows=unknown", "-o", model.parent / "x.h5")
    assert said.code == 2 and "name what it does not know with --unknown" in said.err


def test_few_refused_rows_have_no_clusters(model: Path) -> None:
    said = judged(model, "-k", "clustering", "-n", "12")
    found = [record for record in said.records if record["kind"] == "metric"]
    assert {record["value"] for record in found} == {None} and "rows to cluster, and it takes 20." in said.err


def test_clusters_are_described_by_class_and_purity() -> None:
    clusters = np.array([0, 0, 0, 1, 1, NONE, 2])
    classes = np.array([4, 4, 2, 2, 2, 4, 2])
    names = ["a", "b", "c", "d", "e"]
    assert described(clusters, classes, names) == [
        {"cluster": 0, "rows": 3, "class": "e", "purity": pytest.approx(2 / 3)},
        {"cluster": 1, "rows": 2, "class": "c", "purity": 1.0},
        {"cluster": 2, "rows": 1, "class": None, "purity": 1.0},
        {"cluster": NONE, "rows": 1, "class": None, "purity": None},
    ]


def test_figures_leave_kept_rows_out() -> None:
    own = {"": np.repeat([0.0, 1.0, np.nan], [15, 15, 9]), "class": np.repeat([3.0, 7.0, np.nan], [14, 16, 9])}
    (found,) = figures([own], [{"classes": [*"abcdefgh"]}], {}, 0)
    assert [figure.part for figure in found] == ["", "nmi", "ari", "clusters"]
    assert found[0].estimate.value == pytest.approx(29 / 30) and found[0].details["rows"] == 30
    details: dict[str, Any] = dict(found[0].details)
    assert statement("m", 0.5, details) == "m: 30 rows fall into 2 clusters."
