"""Means over trainings that know different classes, with Student's interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from xaicli.evaluate.splits import Split, over_splits
from xaicli.files.record import Record


def record(metric: str, value: float | None, checkpoint: str, **fields: Any) -> Record:
    same = {"method": "standard", "low": None, "high": None, "n": 100, "undefined": 0, "quantity": None, "options": {}}
    about = {"better": "higher", "proportion": False, "name": checkpoint, "group": 0, "control": False}
    parents = {"checkpoint": {"id": checkpoint}}
    return {"kind": "metric", "metric": metric, "value": value, **same, **about, "parents": parents, **fields}


def split(number: int, *records: Record) -> Split:
    return Split((number, number + 1), [*records, {"kind": "concordance"}])


def test_every_figure_has_its_mean_and_the_interval_of_students_t() -> None:
    values = [0.91, 0.88, 0.95, 0.9, 0.87]
    splits = [
        split(n, record("open-set-auroc@left-out", value, f"m{n}", detector="msp"), record("accuracy", n / 10, f"m{n}"))
        for n, value in enumerate(values)
    ]
    one, other = over_splits(splits)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (one["value"], one["low"], one["high"]) == tuple(pytest.approx(x) for x in (np.mean(values), low, high))
    assert (one["n"], one["name"], one["detector"]) == (5, "msp", "msp")
    assert one["splits"][2] == {"checkpoint": "m2", "known": [2, 3], "value": 0.95}
    assert (other["metric"], other["name"], other["value"]) == ("accuracy", "5 splits", pytest.approx(0.2))


def test_detectors_and_options_are_told_apart_and_figures_that_some_lack_are_left_out() -> None:
    first = [record("open-set-auroc@x", 0.1, "a", detector=name) for name in ("msp", "knn")]
    second = [record("open-set-auroc@x", 0.3, "b", detector=name) for name in ("msp", "knn")]
    found = [*over_splits([split(0, *first, record("ece", 0.5, "a")), split(1, *second)])]
    assert [(r["detector"], r["value"]) for r in found] == [("msp", pytest.approx(0.2)), ("knn", pytest.approx(0.2))]
    options = [split(0, record("s", 1.0, "a", options={"coverage": c})) for c in (0.5,)]
    other = [split(1, record("s", 1.0, "b", options={"coverage": 0.9}))]
    assert [r["n"] for r in over_splits([*options, *other])] == [1, 1]


def test_an_undefined_figure_counts_as_such() -> None:
    (found,) = over_splits([split(0, record("nmi", 0.4, "a")), split(1, record("nmi", None, "b"))])
    assert (found["value"], found["low"], found["n"], found["undefined"]) == (0.4, None, 1, 1)


@pytest.mark.parametrize("known", [[(1, 2), (1, 2)], [(1, 2), ()], [(1, 2)]])
def test_trainings_that_know_the_same_are_no_splits(known: list[tuple[int, ...]]) -> None:
    assert [*over_splits([Split(one, [record("accuracy", 0.5, "m")]) for one in known])] == []


def test_checkpoints_of_two_splits_are_judged_each_on_its_own_rows(call: Any, here: Path) -> None:
    for name, known in (("one", "0,1,2,3,4"), ("two", "3,4,5,6,7")):
        train = ("train", "--data", "digits", "--arch", "mlp:hidden=8", "--epochs", "1", "--known", known)
        assert call(*train, "-o", f"{name}.safetensors").code == 0
    said = call("evaluate", "one.safetensors", "two.safetensors", "-k", "accuracy", "-k", "open-set", "-o", "scores/")
    assert said.code == 0, said.err
    stores = [record["path"] for record in said.records if record["kind"] == "scores"]
    assert len(stores) == 2
    means = [record for record in said.records if "splits" in record]
    for mean in means:
        own = [
            record["value"]
            for record in said.records
            if record.get("metric") == mean["metric"]
            and record.get("detector") == mean.get("detector")
            and "splits" not in record
        ]
        assert mean["value"] == pytest.approx(np.mean(own)) and [one["value"] for one in mean["splits"]] == own
    assert {"accuracy", "open-set@left-out", "open-set-oscr@left-out"} <= {mean["metric"] for mean in means}
    assert means[0]["splits"][1]["known"] == [3, 4, 5, 6, 7]
    again = call("evaluate", *stores)
    assert [r["value"] for r in again.records if "splits" in r] == [mean["value"] for mean in means]
    table = call("evaluate", *stores, "--format", "table").out
    assert "Scores, 2 splits" in table and "Detectors against left-out, 2 splits" in table
