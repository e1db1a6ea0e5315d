"""Aggregates as records: names, paths, pairs, and stores of older versions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.evaluate.test_contestants import source
from xaicli.evaluate.records import STANDING, metric_records
from xaicli.files.record import Record

SCORES = {"id": "5" * 64, "path": "s.h5"}
SOURCES = (
    source("gradcam", role="attributions"),
    source("lime", role="attributions"),
    source("random"),
    source("gradcam", "b" * 64, role="attributions"),
)


@dataclass(frozen=True)
class Stored:
    """A scores store as far as records read it."""

    sources: tuple[dict[str, Any], ...]
    found: dict[str, list[dict[str, Any]]]

    def aggregates(self) -> dict[str, str]:
        return {name: json.dumps(entries) for name, entries in self.found.items()}


def entry(number: int, **fields: Any) -> dict[str, Any]:
    figures = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 30, "undefined": 0}
    return {"source": number, "metric": "deletion", "options": {}, **figures, **fields}


def records(paths: dict[str, str] | None = None, **found: list[dict[str, Any]]) -> list[Record]:
    parents = []
    for one in SOURCES:
        path = {"path": paths[one["checkpoint"]]} if paths else {}
        parents.append({**one["parents"], "checkpoint": {"id": one["checkpoint"], **path}})
    store: Any = Stored(SOURCES, found)
    return list(metric_records(store, parents, SCORES))


def test_every_record_names_its_source_and_where_it_stands() -> None:
    standing = {"rank": 2, "best": False, "p": 0.2, "effect": -0.1, "worse": False}
    found = records(scores=[entry(n, method=SOURCES[n]["method"], **standing) for n in range(4)])
    assert [(r["name"], r["group"], r["control"]) for r in found] == [
        ("gradcam", 0, False),
        ("lime", 0, False),
        ("random", 0, True),
        ("gradcam", 1, False),
    ]
    assert {name: found[0][name] for name in STANDING} == standing
    assert found[3]["parents"]["checkpoint"] == {"id": "b" * 64}
    assert found[3]["parents"]["scores"] == SCORES


def test_a_store_of_an_older_version_has_records_with_less() -> None:
    (found,) = records(scores=[entry(1, method="lime", quantity="logit")])
    assert (found["value"], found["quantity"], found["name"]) == (0.5, "logit", "lime")
    assert {found[name] for name in (*STANDING, "better", "proportion")} == {None}


def test_pairs_are_named_after_both() -> None:
    pairs = [entry(0, **{"with": 1}), entry(0, **{"with": 2}), entry(0, **{"with": 3})]
    paths = {"a" * 64: "x/standard.safetensors", "b" * 64: "robust.safetensors"}
    found = records(paths, scores=[], pairs=pairs)
    assert [record["name"] for record in found] == [
        "gradcam ~ lime",
        "gradcam ~ random",
        "gradcam of standard ~ gradcam of robust",
    ]
    assert [record["control"] for record in found] == [False, True, False]
    assert found[0]["with"] == {
        "name": "lime",
        "parents": {"checkpoint": {"id": "a" * 64, "path": "x/standard.safetensors"}, "attributions": {"id": "0" * 64}},
    }
    assert {record["rank"] for record in found} == {None}


def test_concordance_names_the_explainers_and_their_checkpoint() -> None:
    shared = {"statistic": "kendall-w", "value": 0.5, "p": None, "raters": 30, "group": 0}
    found = records(
        scores=[], concordance=[{"metric": "deletion", "sources": [0, 1], **shared}, {"sources": [0, 3], **shared}]
    )
    assert [record["names"] for record in found] == [["gradcam", "lime"], ["gradcam", "gradcam"]]
    assert found[0]["parents"] == {"checkpoint": {"id": "a" * 64}, "scores": SCORES}
    assert found[1]["parents"] == {"scores": SCORES}
    assert {record["kind"] for record in found} == {"concordance"}


def test_a_figure_of_a_detector_is_named_after_it() -> None:
    found = records(
        scores=[entry(0, method="x", detector="msp"), entry(0, method="x"), entry(3, method="x", detector="knn")]
    )
    assert [r["name"] for r in found] == ["gradcam: msp", "gradcam", "gradcam: knn"]
    assert [r.get("detector") for r in found] == ["msp", None, "knn"]
    store: Any = Stored(SOURCES[:1], {"scores": [entry(0, method="x", detector="msp")]})
    (alone,) = metric_records(store, [SOURCES[0]["parents"]], SCORES)
    assert alone["name"] == "msp"
