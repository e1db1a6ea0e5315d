"""From per-row scores to aggregates: one mean with its interval per source and metric."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from xaicli.evaluate.metric import name_metrics, used_quantity
from xaicli.evaluate.statistics import mean_estimate, proportion_estimate
from xaicli.files.columns import Status
from xaicli.files.merge import MergedRows
from xaicli.files.record import Record, plain_record
from xaicli.files.store import Store
from xaicli.methods import recorded_spec


def summarise_scores(rows: MergedRows) -> dict[str, str]:
    """What a scores store computes from all its rows, as its job says; rows that failed are left out."""
    job = rows.layout.job
    metrics = name_metrics([recorded_spec("evaluate", name, options) for name, options in job["metrics"]])
    ok = rows.column("status") == Status.OK
    found = []
    for number, source in enumerate(rows.layout.sources):
        for metric in metrics:
            for label in metric.columns:
                values = rows.column(f"sources/{number}/{label}")[ok]
                hits = metric.is_proportion and label == metric.label
                estimate = proportion_estimate(values) if hits else mean_estimate(values, seed=job["seed"])
                found.append(
                    {
                        "source": number,
                        "method": source["method"],
                        "metric": label,
                        "quantity": used_quantity(metric),
                        "options": metric.spec.record,
                        **asdict(estimate),
                    }
                )
    return {"aggregates/scores": json.dumps(found, sort_keys=True)}


def stored_metric_records(store: Store, record: Record) -> Iterator[Record]:
    """The aggregates of a scores store as records; parents are named by id alone."""
    parents = [dict(source["parents"]) for source in store.sources]
    yield from metric_records(json.loads(store.aggregates()["scores"]), parents, record)


def metric_records(
    aggregates: Sequence[Mapping[str, Any]], parents: Sequence[Mapping[str, Any]], scores: Mapping[str, Any]
) -> Iterator[Record]:
    """Aggregates as records, each with its source's parents and the scores store it comes from."""
    for entry in aggregates:
        lineage = {**parents[entry["source"]], "scores": {"id": scores["id"], "path": scores["path"]}}
        yield plain_record(
            "metric",
            metric=entry["metric"],
            method=entry["method"],
            value=entry["value"],
            low=entry["low"],
            high=entry["high"],
            n=entry["n"],
            undefined=entry["undefined"],
            quantity=entry["quantity"],
            options=entry["options"],
            parents=lineage,
        )
