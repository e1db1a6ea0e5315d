"""`xaicli evaluate`: baselines, masks, files for papers, and the same scores again."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xaicli.files.record import Record
from xaicli.files.store import open_store

ROWS = 24
BASELINES = {"deletion": "black", "deletion@blur": "blur", "gini": None}


@dataclass(frozen=True)
class Maps:
    """Maps of two explainers on the same rows."""

    gradcam: Path
    saliency: Path

    @property
    def both(self) -> list[Path]:
        return [self.gradcam, self.saliency]


@pytest.fixture(scope="module")
def maps(files: Any, call: Any, tmp_path_factory: pytest.TempPathFactory) -> Maps:
    folder = tmp_path_factory.mktemp("maps")
    names = ("gradcam", "saliency")
    for name in names:
        said = call("explain", files.checkpoint, "-m", name, "-n", str(ROWS), "-o", folder / f"{name}.h5")
        assert said.code == 0, said.err
    return Maps(*(folder / f"{name}.h5" for name in names))


def without_paths(records: list[Record]) -> list[Record]:
    def bare(value: Any) -> Any:
        return {k: bare(v) for k, v in value.items() if k != "path"} if isinstance(value, dict) else value

    return [bare(record) for record in records if record["kind"] in ("metric", "concordance")]


def test_every_baseline_and_every_explainer_is_compared(maps: Maps, files: Any, call: Any, here: Path) -> None:
    judge = ("-k", "deletion:steps=8", "-k", "gini", "--baseline", "black,blur", "--parent", files.checkpoint)
    said = call("evaluate", *maps.both, *judge, "-o", "s.h5", "--csv", "s.csv", "--latex", "tables/s.tex")
    assert said.code == 0, said.err
    metrics = [record for record in said.records if record["kind"] == "metric"]
    names = ["gradcam", "saliency", "random", "edges"]
    assert [(r["metric"], r["name"]) for r in metrics] == [
        (metric, name) for metric in ("deletion", "deletion@blur", "gini") for name in names
    ]
    for record in metrics:
        assert record["options"].get("baseline") == BASELINES[record["metric"]]
        assert record["control"] == (record["name"] in ("random", "edges"))
    best = [record["name"] for record in metrics if record["best"]]
    assert len(best) == 3 and not {*best} & {"random", "edges"}
    with (here / "s.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["metric"], line["name"], float(line["value"])) for line in lines] == [
        (record["metric"], record["name"], record["value"]) for record in metrics
    ]
    assert (here / "tables" / "s.tex").read_text().count(r"\textbf") == 3


def test_the_table_and_the_records_of_a_store_again(maps: Maps, files: Any, call: Any, here: Path) -> None:
    judge = ("evaluate", *maps.both, "-k", "gini", "-k", "entropy", "--parent", files.checkpoint, "-o", "s.h5")
    first = call(*judge)
    assert first.code == 0, first.err
    again = call("evaluate", "s.h5", "--csv", "s.csv")
    assert without_paths(again.records) == without_paths(first.records)
    assert len((here / "s.csv").read_text().splitlines()) == 1 + 2 * 4
    shown = call(*judge, terminal=True).out
    same = call("evaluate", "s.h5", files.checkpoint, terminal=True).out
    assert shown.endswith(same)
    assert f"Scores of m.safetensors, {ROWS} images" in same and "gini ↑" in same and "entropy ↓" in same


def test_masks_of_ones_own(maps: Maps, files: Any, call: Any, here: Path) -> None:
    with open_store(maps.gradcam) as store:
        index = store.column("index").astype(int)
        phi = store.read(np.arange(ROWS), ["attribution"])["attribution"].astype(float).sum(1)
    masks = np.random.default_rng(0).random((360, 32, 32)) < 0.3
    np.save(here / "masks.npy", masks)
    parent = ("--parent", files.checkpoint, "-o", "s.h5")
    said = call("evaluate", maps.gradcam, "-k", "relevance-mass", "--masks", "masks.npy", *parent)
    assert said.code == 0, said.err
    positive = phi.clip(0)
    expected = (positive * masks[index]).sum((1, 2)) / positive.sum((1, 2))
    with open_store(here / "s.h5") as store:
        assert store.column("sources/0/relevance-mass") == pytest.approx(expected, abs=1e-6, nan_ok=True)
    np.save(here / "masks.npy", ~masks)
    said = call("evaluate", maps.gradcam, "-k", "relevance-mass", "--masks", "masks.npy", *parent)
    assert said.code == 73  # other masks are another job
    usual = call("evaluate", maps.gradcam, "--masks", "masks.npy", "--parent", files.checkpoint, "--dry-run")
    named = call("evaluate", maps.gradcam, "--parent", files.checkpoint, "--dry-run")
    assert usual.record["bytes"] > named.record["bytes"]  # localisation is judged where there are masks


def test_all_metrics_that_fit(maps: Maps, files: Any, call: Any, here: Path) -> None:
    said = call("evaluate", files.images, "-k", "all", "--parent", files.checkpoint, "-n", "4")
    assert said.code == 0, said.err
    names = {record["metric"].partition("-")[0] for record in said.records if record["kind"] == "metric"}
    assert names == {"accuracy", "robust", "perturbation"}
    planned = call("evaluate", maps.gradcam, "-k", "all", "--parent", files.checkpoint, "--dry-run")
    assert planned.code == 0, planned.err
    masked = ("-k", "all", "--masks", "masks.npy", "--parent", files.checkpoint, "--dry-run")
    np.save(here / "masks.npy", np.ones((360, 32, 32), bool))
    assert call("evaluate", maps.gradcam, *masked).record["bytes"] > planned.record["bytes"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("-k deletion --baseline blck", "did you mean 'black'?"),
        ("-k deletion --baseline black,,blur", "is no list of names"),
        ("-k gini --baseline blur", "none of the metrics has a baseline; leave --baseline out."),
        ("-k gini --quantity logit", "none of the metrics has a quantity; leave --quantity out."),
        ("-k deletion --quantity logits", "did you mean 'logit'?"),
        ("-k deletion -k deletion:steps=100", ""),
        ("-k gini --csv s.h5", "--csv 's.h5' is not named .csv; call it 's.csv'."),
        ("-k gini --latex s.h5", "--latex 's.h5' is not named .tex; call it 's.tex'."),
        ("-k gini --csv s.csv --shard 1/2", "a shard has no scores for --csv and --latex"),
        ("-k every", "there is no metric 'every'."),
    ],
)
def test_mistakes_are_named(arguments: str, sentence: str, maps: Maps, files: Any, call: Any, here: Path) -> None:
    said = call("evaluate", maps.gradcam, *arguments.split(), "--parent", files.checkpoint, "--dry-run")
    assert said.code == (2 if sentence else 0), said.err
    assert sentence in said.err
    assert list(here.iterdir()) == []


def test_masks_are_for_maps_and_must_fit(maps: Maps, files: Any, call: Any, here: Path) -> None:
    np.save(here / "small.npy", np.ones((360, 8, 8), bool))
    parent = ("--parent", files.checkpoint)
    for source, masks, code in (
        (files.checkpoint, "small.npy", 2),
        (maps.gradcam, "small.npy", 65),
        (maps.gradcam, "nothing.npy", 66),
    ):
        assert call("evaluate", source, "--masks", masks, *parent).code == code
    said = call("evaluate", maps.gradcam, "-k", "pointing-game", *parent)
    assert said.code == 65 and "give them with --masks FILE, or leave it out." in said.err
