"""Calibration: the rows' values against scikit-learn, and checkpoints on rows that their training held out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss

from tests.conftest import Files, Said
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.evaluate.calibration import PARTS, calibration, figures
from xaicli.evaluate.reliability import equal_mass, equal_width, error_estimate
from xaicli.evaluate.temperature import fit_temperature
from xaicli.files.checkpoint import read_checkpoint, read_meta, write_checkpoint
from xaicli.files.store import open_store
from xaicli.models.load import load_classifier

NAMES = ["", "adaptive", "brier", "nll", "temperature", "scaled", "scaled-nll"]


def columns_of(logits: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0) -> dict[str, np.ndarray]:
    scores = calibration(logits, labels, temperature)
    assert tuple(scores.parts) == PARTS
    return {name: values.numpy() for name, values in {"": scores.values, **scores.parts}.items()}


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_values_of_the_rows_are_those_of_scikit_learn(classes: int) -> None:
    rng = torch.Generator().manual_seed(classes)
    logits = 3 * torch.randn(60, classes, generator=rng)
    labels = torch.arange(60) % classes
    found = columns_of(logits, labels, temperature=2.5)
    p, q = (z.double().softmax(1).numpy() for z in (logits, logits.double() / 2.5))
    every = list(range(classes))
    assert found["nll"].mean() == pytest.approx(log_loss(labels, p, labels=every), rel=1e-12)
    assert found["scaled-nll"].mean() == pytest.approx(log_loss(labels, q, labels=every), rel=1e-12)
    brier = brier_score_loss(np.eye(classes)[labels], p, scale_by_half=False) if classes > 2 else None
    brier = brier_score_loss(labels, p[:, 1], scale_by_half=False) if brier is None else brier
    assert found["brier"].mean() == pytest.approx(brier, rel=1e-12)
    assert found[""] == pytest.approx(p.max(1), abs=1e-15) and found["scaled"] == pytest.approx(q.max(1), abs=1e-15)
    assert found["right"].tolist() == (p.argmax(1) == labels.numpy()).astype(float).tolist()
    assert {*found["temperature"]} == {2.5}


def test_large_logits_have_their_exact_likelihood() -> None:
    logits = torch.tensor([[1e4, 0.0], [1e4, 0.0], [0.0, 0.0], [1e4, 1e4]])
    found = columns_of(logits, torch.tensor([0, 1, 0, 1]), temperature=1e4)
    assert found["nll"] == pytest.approx([0, 1e4, math.log(2), math.log(2)], abs=1e-15)
    assert found["brier"].tolist() == [0, 2, 0.5, 0.5] and found[""].tolist() == [1, 1, 0.5, 0.5]
    assert found["scaled-nll"] == pytest.approx([math.log1p(math.exp(sign)) for sign in (-1, 1)] + [math.log(2)] * 2)


def test_rows_without_a_class_say_nothing_and_neither_does_a_temperature_that_is_not() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = columns_of(logits, torch.tensor([0, 65535, 1, 65535, 2]), temperature=math.nan)
    for name, values in found.items():
        undefined = [True] * 5 if name in ("temperature", "scaled", "scaled-nll") else [False, True] * 2 + [False]
        assert np.isnan(values).tolist() == undefined, name


def test_figures_of_two_models() -> None:
    rng = torch.Generator().manual_seed(2)
    labels = torch.arange(90) % 4
    columns = [columns_of(factor * torch.randn(90, 4, generator=rng), labels, factor) for factor in (2.0, 0.5)]
    columns[1] |= {name: np.full(90, np.nan) for name in ("temperature", "scaled", "scaled-nll")}
    facts = [{"name": "digits", "rows": 7}, {}]
    one, other = figures(columns, facts, {"bins": 15}, 3)
    assert [figure.part for figure in one] == [figure.part for figure in other] == NAMES
    assert [figure.better for figure in one] == ["lower"] * 4 + ["neither"] + ["lower"] * 2
    for found, own in zip((one, other), columns, strict=True):
        said = {figure.part: figure.estimate for figure in found}
        assert said[""] == error_estimate(own[""], own["right"], equal_width, 15, seed=3)
        assert said["adaptive"] == error_estimate(own[""], own["right"], equal_mass, 15, seed=3)
        assert said["scaled"] == error_estimate(own["scaled"], own["right"], equal_width, 15, seed=3)
        assert said["nll"].value == pytest.approx(own["nll"].mean()) and said["nll"].low < said["nll"].value
    temperatures = [{figure.part: figure for figure in found}["temperature"] for found in (one, other)]
    assert [figure.estimate.value for figure in temperatures] == [2.0, None]
    assert [figure.estimate.n for figure in temperatures] == [7, 0]
    assert [figure.details["held_out"] for figure in temperatures] == facts
    assert {figure.part: figure for figure in other}["scaled"].estimate.undefined == 90


def metrics(said: Said) -> dict[str, dict[str, Any]]:
    assert said.code == 0, said.err
    return {record["metric"]: record for record in said.records if record["kind"] == "metric"}


def logits_on(path: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    data = open_data("digits", split=split)
    images = torch.as_tensor(to_float(data.read(range(len(data))).pixels))
    with torch.no_grad():
        return load_classifier(path)(images).double(), torch.tensor(data.labels)


def test_a_checkpoint_is_scaled_by_what_its_own_held_out_rows_ask_for(files: Files, call: Any, here: Path) -> None:
    said = call("evaluate", files.checkpoint, "-o", "s.h5")
    found = metrics(said)
    assert [*found] == ["accuracy", *(f"calibration-{name}".rstrip("-") for name in NAMES)]
    temperature = fit_temperature(*logits_on(files.checkpoint, "val"))
    logits, labels = logits_on(files.checkpoint, "test")
    assert found["calibration-temperature"]["value"] == pytest.approx(temperature, rel=1e-5)
    held = found["calibration-temperature"]["details"]["held_out"]
    assert (held["name"], held["split"], held["rows"]) == ("digits", "val", 144)
    for name, divisor in (("nll", 1.0), ("scaled-nll", temperature)):
        loss = torch.nn.functional.cross_entropy(logits / divisor, labels).item()
        assert found[f"calibration-{name}"]["value"] == pytest.approx(loss, rel=1e-5)
    assert found["calibration-scaled-nll"]["value"] < found["calibration-nll"]["value"]
    right = (logits.argmax(1) == labels).numpy().astype(float)
    with open_store(here / "s.h5") as store:
        for name, divisor, part in (("calibration", 1.0, ""), ("calibration-scaled", temperature, "scaled")):
            confidence = store.column(f"sources/0/{name}")
            assert confidence == pytest.approx((logits / divisor).softmax(1).amax(1).numpy(), abs=1e-5)
            expected = error_estimate(confidence, right, equal_width, 15)
            record = found[f"calibration-{part}".rstrip("-")]
            assert (record["value"], record["low"], record["high"]) == (expected.value, expected.low, expected.high)
            assert sum(one["n"] for one in record["details"]["bins"]) == 360
    again = metrics(call("evaluate", "s.h5"))
    assert again["calibration"]["details"] == found["calibration"]["details"]


def test_the_temperature_knows_nothing_of_the_rows_that_are_judged(files: Files, call: Any, here: Path) -> None:
    few = metrics(call("evaluate", files.checkpoint, "-k", "ece", "-n", "60", "-o", "few.h5"))
    fit = metrics(call("evaluate", files.checkpoint, "--data", "digits:fit", "-k", "calibration", "-o", "fit.h5"))
    assert few["calibration-temperature"]["n"] == 60  # as many as are judged
    assert fit["calibration-temperature"]["value"] == pytest.approx(
        fit_temperature(*logits_on(files.checkpoint, "val")), rel=1e-5
    )
    for split in ("val", "train"):
        said = call("evaluate", files.checkpoint, "--data", f"digits:{split}", "-k", "calibration", "-o", f"{split}.h5")
        found = metrics(said)
        assert found["calibration-temperature"]["value"] is found["calibration-scaled"]["value"] is None
        assert found["calibration"]["value"] is not None and found["calibration"]["undefined"] == 0
        assert "no temperature is fitted for 'm.safetensors': the rows that were held out are themselves" in said.err


@pytest.mark.parametrize("change", [{"data": None}, {"recipe": None}, {"data": {"name": "folder:gone"}}])
def test_a_checkpoint_whose_held_out_rows_are_not_known_is_judged_as_it_is(
    files: Files, call: Any, here: Path, change: dict[str, Any]
) -> None:
    held = read_checkpoint(files.checkpoint)
    write_checkpoint(here / "foreign.safetensors", held.tensors, replace(held.meta, **change))
    said = call("evaluate", "foreign.safetensors", "--data", "digits", "-o", "s.h5")
    found = metrics(said)
    assert said.err.startswith("warning: no temperature is fitted for 'foreign.safetensors': ")
    assert found["calibration-temperature"]["value"] is None and found["calibration-scaled-nll"]["undefined"] == 360
    assert found["calibration-temperature"]["details"] == {"held_out": {}}
    own = metrics(call("evaluate", files.checkpoint, "-o", "own.h5"))
    assert found["calibration"]["value"] == own["calibration"]["value"]
    assert read_meta(here / "foreign.safetensors")[0].classes == held.meta.classes


def test_shards_merge_to_the_same_bytes(files: Files, call: Any, here: Path) -> None:
    command = ("evaluate", files.checkpoint, "-k", "calibration:bins=10", "--block", "64")
    assert call(*command, "-o", "whole.h5").code == 0
    for shard in ("1/2", "2/2"):
        assert call(*command, "--shard", shard, "-o", "parts.h5").code == 0
    assert call("store", "merge", "parts.h5").code == 0
    assert (here / "parts.h5").read_bytes() == (here / "whole.h5").read_bytes()


def test_attacked_images_have_no_held_out_rows(files: Files, call: Any, here: Path) -> None:
    said = call("evaluate", files.images, "-k", "calibration", "--parent", files.checkpoint)
    assert said.code == 2 and "'calibration' does not judge a subject of kind images" in said.err
