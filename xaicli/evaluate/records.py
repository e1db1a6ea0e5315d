"""Aggregates as records: one per source and metric, and how far rankings agree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xaicli.evaluate.contestants import Contestant, contestants
from xaicli.files.record import Record, plain_record
from xaicli.files.store import Store

FIELDS = ("value", "low", "high", "n", "undefined", "quantity", "options", "better", "proportion")
EXTRA = ("per_class", "detector", "details")  # of accuracies, of what is not a source's own, of more than a number
STANDING = ("rank", "best", "p", "effect", "worse")


def stored_metric_records(store: Store, record: Record) -> Iterator[Record]:
    """The aggregates of a scores store as records; parents are named by id alone."""
    yield from metric_records(store, [source["parents"] for source in store.sources], record)


def metric_records(store: Store, parents: Sequence[Mapping[str, Any]], scores: Mapping[str, Any]) -> Iterator[Record]:
    """Aggregates as records, each with its source's parents and the scores store it comes from.

    parents: of each source, with paths where they are known. What an older version did not compute is null.
    """
    aggregates = {name: json.loads(text) for name, text in store.aggregates().items()}
    everyone = contestants(store.sources, parents)
    several = len(everyone) > 1
    beside = {"scores": {"id": scores["id"], "path": scores["path"]}}
    for entry in aggregates["scores"]:
        one = everyone[entry["source"]]
        yield _metric(entry, entry["method"], _name(entry, one, several), one, {**parents[one.number], **beside})
    for entry in aggregates.get("pairs", ()):
        one, other = everyone[entry["source"]], everyone[entry["with"]]
        method = store.sources[one.number]["method"]
        checkpoints = [parents[number]["checkpoint"] for number in (one.number, other.number)]
        names = (
            (one.name, other.name) if one.group == other.group else [f"{one.name} of {_file(c)}" for c in checkpoints]
        )
        record = _metric(entry, method, " ~ ".join(names), one, {**parents[one.number], **beside})
        record["control"] = one.control or other.control
        yield record | {"with": {"name": other.name, "parents": dict(parents[other.number])}}
    for entry in aggregates.get("concordance", ()):
        checkpoints = [parents[number]["checkpoint"] for number in entry["sources"]]
        shared = {"checkpoint": checkpoints[0]} if all(one == checkpoints[0] for one in checkpoints) else {}
        yield plain_record(
            "concordance",
            metric=entry.get("metric"),
            metrics=entry.get("metrics"),
            statistic=entry["statistic"],
            value=entry["value"],
            p=entry["p"],
            raters=entry["raters"],
            names=[everyone[number].name for number in entry["sources"]],
            group=entry["group"],
            parents={**shared, **beside},
        )


def _name(entry: Mapping[str, Any], one: Contestant, several: bool) -> str:
    """The source's name, or that of the detector that is judged instead."""
    detector = entry.get("detector")
    return f"{one.name}: {detector}" if detector and several else detector or one.name


def _metric(entry: Mapping[str, Any], method: str, name: str, one: Contestant, parents: Mapping[str, Any]) -> Record:
    return plain_record(
        "metric",
        metric=entry["metric"],
        method=method,
        **{field: entry.get(field) for field in FIELDS},
        name=name,
        group=one.group,
        control=one.control,
        **{field: entry.get(field) for field in STANDING},
        **({field: entry[field] for field in EXTRA if field in entry} | _measured(entry, parents)),
        parents=dict(parents),
    )


def _measured(entry: Mapping[str, Any], parents: Mapping[str, Any]) -> dict[str, Any]:
    """The details of a figure that is measured in a model's features, with the name of that model's file."""
    details = entry.get("details", {})
    models = (parents.get(role, {}) for role in ("judge", "checkpoint"))
    found = next((model for model in models if model.get("id") == details.get("features", "")), None)
    return {"details": {**details, "model": _file(found)}} if found else {}


def _file(parent: Mapping[str, Any]) -> str:
    """A checkpoint by its file's name, or by its id where the file is not known."""
    return Path(parent["path"]).stem if parent.get("path") else str(parent["id"])[:8]
