"""`evaluate -k audit` and `-k membership`: whose rows are asked, what is found, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Said
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.evaluate.membership import likelihood_ratios
from xaicli.evaluate.one_run import lower_bound, p_value
from xaicli.evaluate.separation import area, true_positives
from xaicli.files.checkpoint import read_checkpoint, write_checkpoint
from xaicli.files.store import open_store
from xaicli.models.load import load_classifier
from xaicli.train.canaries import Canaries, canaries_in

CANARIES = 300
TRAIN = ("train", "--data", "digits", "--arch", "mlp:hidden=48", "--epochs", "8")
RECIPE = f"standard:augment=none,canaries={CANARIES}"


@pytest.fixture(scope="module")
def models(call: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four trainings that differ in their seed."""
    folder = tmp_path_factory.mktemp("canaries")
    paths = [folder / f"m{seed}.safetensors" for seed in range(4)]
    for seed, path in enumerate(paths):
        said = call(*TRAIN, "--recipe", RECIPE, "--seed", str(seed), "-o", path)
        assert said.code == 0, said.err
    return paths


@pytest.fixture(scope="module")
def claims(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The first of them with another promise."""

    def make(**privacy: Any) -> Path:
        held = read_checkpoint(models[0])
        path = tmp_path_factory.mktemp("claims") / "m.safetensors"
        write_checkpoint(path, held.tensors, replace(held.meta, privacy=privacy))
        return path

    return make


def canaries_of(path: Path) -> Canaries:
    found = canaries_in(read_checkpoint(path).tensors, path.name)
    assert found is not None
    return found


def confidences(path: Path, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of these classes on rows of the training split."""
    images = torch.as_tensor(to_float(open_data("digits", split="train").read(rows).pixels))
    with torch.no_grad():
        p = load_classifier(path)(images).double().softmax(1)[torch.arange(len(rows)), torch.as_tensor(labels)]
    return (p / (1 - p)).log().numpy()


def metrics(said: Said) -> dict[str, dict[str, Any]]:
    assert said.code == 0, said.err
    return {record["metric"]: record for record in said.records if record["kind"] == "metric"}


def test_an_audit_guesses_the_surest_quarter(models: list[Path], call: Any, here: Path) -> None:
    found = metrics(said := call("evaluate", models[0], "-k", "audit", "-o", "s.h5"))
    canaries = canaries_of(models[0])
    order = np.argsort(-confidences(models[0], canaries.rows, canaries.labels))
    guesses = CANARIES // 4
    right = int(canaries.included[order[:38]].sum() + (~canaries.included[order[-37:]]).sum())
    bound, largest = (lower_bound(CANARIES, guesses, count, 1e-4) for count in (right, guesses))
    assert 45 < right < 75 and 0.3 < bound < largest
    assert found["audit"]["value"] == bound and found["audit-largest"]["value"] == largest
    assert found["audit-right"]["value"] == right / guesses and found["audit-right"]["n"] == guesses
    assert found["audit-right"]["low"] < right / guesses < found["audit-right"]["high"]
    assert found["audit"]["details"] == {
        "canaries": CANARIES,
        "guesses": guesses,
        "right": right,
        "delta": 1e-4,  # as a private training on 1,437 images would promise
        "confidence": 0.95,
        "largest": largest,
        "claim": None,
        "p": None,
        "violated": None,
    }
    assert f"{right} of {guesses} guesses about {CANARIES} canaries are right" in said.err
    with open_store(here / "s.h5") as store:
        assert np.array_equal(store.column("index"), canaries.rows)
        assert np.array_equal(store.column("sources/0/audit-included") == 1, canaries.included)
        true = open_data("digits", split="train").labels[canaries.rows]
        assert np.array_equal(store.column("label"), true)
    again = call("evaluate", "s.h5")
    assert metrics(again)["audit"]["details"] == found["audit"]["details"]
    assert again.err == said.err.replace("m0: ", "standard: ")  # its file is not known now


def test_a_promise_that_was_broken_is_said_loudly(claims: Any, call: Any, here: Path) -> None:
    broken, kept = claims(epsilon=0.1, delta=1e-5), claims(epsilon=20.0, delta=1e-5)
    said = call("evaluate", broken, "-k", "audit", "-q", "-o", "broken.h5")
    found = metrics(said)
    details = found["audit"]["details"]
    assert details["violated"] is True and details["claim"] == 0.1 and details["delta"] == 1e-5
    assert details["p"] == p_value(CANARIES, 75, details["right"], 0.1, 1e-5) < 0.05
    assert found["audit-claim"]["value"] == 0.1
    assert said.err.startswith("warning: m: ") and said.err.endswith("the claim is 0.1: VIOLATED.\n")
    held = call("evaluate", kept, "-k", "audit", "-o", "kept.h5")
    assert metrics(held)["audit"]["details"]["violated"] is False
    assert "not refuted" in held.err and "warning" not in held.err
    more = metrics(call("evaluate", broken, "-k", "audit:delta=1e-3,guesses=20", "-o", "more.h5"))
    assert more["audit"]["details"]["delta"] == 1e-3 and more["audit"]["details"]["guesses"] == 20
    shown = call("evaluate", "broken.h5", terminal=True)
    assert "audit-claim" in shown.out and "audit-largest" in shown.out
    unlimited = metrics(call("evaluate", claims(epsilon=None, delta=1e-5), "-k", "audit", "-o", "none.h5"))
    assert unlimited["audit"]["details"]["claim"] is None


def test_what_cannot_be_audited(models: list[Path], claims: Any, files: Any, call: Any, here: Path) -> None:
    for words, sources in (
        ("audit", [files.checkpoint]),
        ("audit", [models[0], files.checkpoint]),
        ("audit:guesses=301", [models[0]]),
        ("audit:delta=1e-6", [claims(epsilon=1.0, delta=1e-5)]),
        ("audit:delta=1.5", [models[0]]),
        ("membership", models[:3]),
    ):
        said = call("evaluate", *sources, "-k", words)
        assert said.code == 2 and len(said.err.splitlines()) == 1, said.err
    said = call("evaluate", files.checkpoint, "-k", "audit")
    assert "before the training" in said.err and "private:canaries=1000" in said.err
    assert call("evaluate", models[0], "-k", "audit", "--data", "shapes").code == 2
    assert call("evaluate", files.images, "-k", "audit").code == 2
    assert list(here.iterdir()) == []


def test_each_model_is_attacked_by_the_others(models: list[Path], call: Any, here: Path) -> None:
    said = call("evaluate", *models, "-k", "membership", "-o", "s.h5")
    assert said.code == 0, said.err
    canaries = [canaries_of(path) for path in models]
    bits = np.stack([one.included for one in canaries])
    values = np.stack([confidences(path, canaries[0].rows, canaries[0].labels) for path in models])
    for number, path in enumerate(models):
        own = {r["metric"]: r for r in said.records if r["kind"] == "metric" and r["name"] == path.stem}
        ratios = likelihood_ratios(values, bits, number)
        kept = np.isfinite(ratios)
        members, others = ratios[kept & bits[number]], ratios[kept & ~bits[number]]
        assert own["membership-auc"]["value"] == pytest.approx(area(members, others).value, abs=1e-4)
        assert own["membership-at-1-percent"]["value"] == pytest.approx(
            true_positives(members, others, 0.01).value, abs=0.02
        )
        assert own["membership"]["value"] is None and own["membership"]["undefined"] == (~kept).sum()
        details = {"variant": "likelihood ratio", "shadows": 3, "members": len(members), "others": len(others)}
        assert own["membership"]["details"] == details
        assert own["membership-auc"]["low"] > 0.5  # small as they are, they remember
    assert "m0 was attacked by the likelihood ratio of 3 other models" in said.err
    turned = call("evaluate", *models[::-1], "-k", "membership", "-o", "t.h5")
    key = [(r["name"], r["metric"], r["value"]) for r in said.records if r["kind"] == "metric"]
    assert sorted(key, key=str) == sorted(
        [(r["name"], r["metric"], r["value"]) for r in turned.records if r["kind"] == "metric"], key=str
    )


def test_a_model_alone_is_asked_about_rows_it_saw_and_rows_held_out(
    models: list[Path], call: Any, here: Path, tmp_path: Path
) -> None:
    said = call("evaluate", models[0], "-k", "membership", "-o", "s.h5")
    found, canaries = metrics(said), canaries_of(models[0])
    fit, val = (open_data("digits", split=split) for split in ("fit", "val"))
    members, others = (np.setdiff1d(one.index, canaries.rows) for one in (fit, val))
    labels = open_data("digits", split="train").labels
    scores = [confidences(models[0], rows, labels[rows]) for rows in (members, others)]
    assert found["membership-auc"]["value"] == pytest.approx(area(*scores).value, abs=1e-4)
    details = {"variant": "one threshold", "shadows": 0, "members": len(members), "others": len(others)}
    assert found["membership"]["details"] == details and (len(members), len(others)) == (993, 144)
    assert "144 are too few to see 0.1% of them" in said.err
    held = read_checkpoint(models[0])
    noise = torch.Generator().manual_seed(0)
    fresh = {
        name: torch.randn(tensor.shape, generator=noise).numpy() if name.startswith("network.") else tensor
        for name, tensor in held.tensors.items()
    }
    write_checkpoint(tmp_path / "never.safetensors", fresh, held.meta)
    chance = metrics(call("evaluate", "never.safetensors", "-k", "membership", "-o", "n.h5"))
    for name in ("membership-auc", "membership-balanced-accuracy"):
        assert chance[name]["low"] < 0.5 < chance[name]["high"]


def test_a_model_that_learnt_by_heart_gives_its_rows_away(call: Any, here: Path) -> None:
    recipe = "standard:augment=none,weight-decay=0,canaries=600"  # half of the labels are wrong: none can be inferred
    assert call(*TRAIN, "--recipe", recipe, "--epochs", "6", "-o", "m.safetensors").code == 0
    found = metrics(call("evaluate", "m.safetensors", "-k", "membership", "-k", "audit", "-o", "s/"))
    assert found["audit"]["value"] > 0.5 and found["audit-right"]["value"] > 0.75
    assert found["membership-auc"]["low"] > 0.5


def test_other_metrics_keep_their_own_rows_and_all_takes_what_there_is(
    models: list[Path], files: Any, call: Any, here: Path
) -> None:
    said = call("evaluate", models[0], "-k", "audit", "-k", "accuracy", "-n", "50", "-o", "some/")
    assert [record["rows"] for record in said.records if record["kind"] == "scores"] == [50, 50]
    assert {r["metric"]: r["n"] for r in said.records if r["kind"] == "metric"}["audit-right"] == 13
    names = {
        path.stem: {*metrics(call("evaluate", path, "-k", "all", "-n", "40", "-o", f"{path.stem}/"))}
        for path in (models[0], files.checkpoint)
    }
    assert {"accuracy", "audit", "membership"} <= names["m0"]
    assert "membership" in names["m"] and "audit" not in names["m"]
    held = read_checkpoint(files.checkpoint)
    write_checkpoint(here / "foreign.safetensors", held.tensors, replace(held.meta, data=None))
    assert call("evaluate", "foreign.safetensors", "-k", "membership").code == 2
    said = call("evaluate", "foreign.safetensors", "--data", "digits", "-k", "all", "-n", "40", "-o", "f/")
    assert {name.partition("-")[0] for name in metrics(said)} == {"accuracy", "calibration", "selective"}


def test_canaries_of_other_numbers_are_audited_apart_and_are_no_shadows(
    models: list[Path], call: Any, here: Path
) -> None:
    fewer = f"standard:augment=none,canaries={CANARIES // 2}"
    assert call(*TRAIN, "--recipe", fewer, "--epochs", "1", "-o", "fewer.safetensors").code == 0
    said = call("evaluate", models[0], models[1], "fewer.safetensors", "-k", "audit", "-o", "s/")
    assert said.code == 0, said.err
    assert [record["rows"] for record in said.records if record["kind"] == "scores"] == [CANARIES, CANARIES // 2]
    assert [r["name"] for r in said.records if r["kind"] == "metric" and r["metric"] == "audit"] == [
        "m0",
        "m1",
        "fewer",
    ]
    mixed = call("evaluate", *models, "fewer.safetensors", "-k", "membership")
    assert mixed.code == 65 and "same canaries" in mixed.err


def test_shards_merge_to_the_same_bytes(models: list[Path], call: Any, here: Path) -> None:
    command = ("evaluate", *models, "-k", "membership", "--block", "64")
    whole = call(*command, "-o", "whole.h5")
    for shard in ("1/2", "2/2"):
        assert call(*command, "--shard", shard, "-o", "parts.h5").code == 0
    merged = call("store", "merge", "parts.h5")
    assert merged.code == 0, merged.err
    assert (here / "parts.h5").read_bytes() == (here / "whole.h5").read_bytes()
    said = [line for line in whole.err.splitlines() if "attacked by" in line]
    assert len(said) == 4 and all(line.partition(" was ")[2] in merged.err for line in said)
