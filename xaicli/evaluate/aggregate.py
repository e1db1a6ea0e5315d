"""From per-row scores to aggregates: means with intervals, standings of the explainers, agreement of their rankings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.evaluate.concordance import concordance
from xaicli.evaluate.contestants import Contestant, contestants
from xaicli.evaluate.metric import Metric, name_metrics, used_quantity
from xaicli.evaluate.pairs import summarise_pairs
from xaicli.evaluate.standings import Standing, stand
from xaicli.evaluate.statistics import Estimate, Values, mean_estimates, proportion_estimate
from xaicli.evaluate.whole import Figure, Together
from xaicli.files.columns import UNKNOWN_LABEL, Status
from xaicli.files.merge import MergedRows
from xaicli.specs import recorded_spec

SIGNS = {"lower": -1, "higher": 1}
BY_CLASS = ("accuracy", "robust-accuracy")
PER_CLASS = ("value", "low", "high", "n")

Entry = dict[str, Any]


def summarise_scores(rows: MergedRows) -> dict[str, str]:
    """What a scores store computes from all its rows, as its job says; rows that failed are left out.

    `scores` has one entry per source and column, accuracies by class too; `concordance` has one per column and group of
    explainers, on how far the rows agree in ranking them, and one per group on how far the metrics do; `pairs` those of
    metrics of two explainers.
    """
    job, sources = rows.layout.job, rows.layout.sources
    metrics = name_metrics([recorded_spec("evaluate", name, options) for name, options in job["metrics"]])
    everyone = contestants(sources, [source["parents"] for source in sources])
    groups = [[one for one in everyone if one.group == group] for group in range(1 + max(c.group for c in everyone))]
    ok = rows.column("status") == Status.OK
    scores: list[Entry] = []
    agreement: list[Entry] = []
    rankings: dict[int, dict[str, list[float | None]]] = {group: {} for group in range(len(groups))}
    known = ok & (rows.column("label") < UNKNOWN_LABEL) if "open" in job else ok
    for metric in metrics:
        counted = ok if metric.is_open else known
        if metric.together is not None:
            scores += _together(metric, metric.together, rows, counted)
            continue
        for label in () if metric.is_paired else metric.columns:
            columns = [rows.column(f"sources/{number}/{label}")[counted] for number in range(len(sources))]
            estimates = _estimates(metric, columns, job["seed"])
            standings: dict[int, Standing] = {}
            for group, members in enumerate(groups):
                standings |= _standings(metric, label, members, columns, estimates)
                ranked = [one.number for one in members if not one.control]
                agreement += _agreement(group, ranked, [columns[n] for n in ranked], metric=label)
                if label == metric.label and (sign := SIGNS.get(metric.better(label))):
                    values = [estimates[number].value for number in ranked]
                    rankings[group][label] = [None if value is None else sign * value for value in values]
            for number, source in enumerate(sources):
                scores.append(
                    {
                        "source": number,
                        "method": source["method"],
                        "metric": label,
                        "quantity": used_quantity(metric),
                        "options": metric.spec.record,
                        "better": metric.better(label),
                        "proportion": metric.is_proportion,
                        **asdict(estimates[number]),
                        **asdict(standings[number]),
                        **_by_class(metric, columns[number], rows, counted),
                    }
                )
    for group, members in enumerate(groups):
        ranked = [one.number for one in members if not one.control]
        whole = {name: marks for name, marks in rankings[group].items() if None not in marks}
        agreement += _agreement(group, ranked, list(np.array(list(whole.values()), float).T), metrics=list(whole))
    return {
        "aggregates/scores": json.dumps(scores, sort_keys=True),
        "aggregates/concordance": json.dumps(agreement, sort_keys=True),
        "aggregates/pairs": json.dumps(summarise_pairs(rows, metrics, ok), sort_keys=True),
    }


def _estimates(metric: Metric, columns: Sequence[Values], seed: int) -> list[Estimate]:
    if metric.is_proportion:
        return [proportion_estimate(values) for values in columns]
    return mean_estimates(columns, seed=seed)


def _together(metric: Metric, together: Together, rows: MergedRows, ok: npt.NDArray[np.bool_]) -> list[Entry]:
    """The figures of a metric that are none of single rows."""
    job, sources = rows.layout.job, rows.layout.sources
    parts = ["", *(column.removeprefix(f"{metric.label}-") for column in metric.columns[1:])]
    columns = [
        {part: rows.column(f"sources/{n}/{name}")[ok] for part, name in zip(parts, metric.columns, strict=True)}
        for n in range(len(sources))
    ]
    found = together(columns, _facts(metric, job), metric.spec.options, job["seed"])
    return [
        {
            "source": number,
            "method": sources[number]["method"],
            "metric": _name(metric, figure),
            "quantity": used_quantity(metric),
            "options": metric.spec.record,
            "better": figure.better,
            "proportion": figure.proportion,
            **asdict(figure.estimate),
            **asdict(Standing()),
            **({"detector": figure.detector} if figure.detector else {}),
            **({"details": dict(figure.details)} if figure.details else {}),
        }
        for number, figures in enumerate(found)
        for figure in figures
    ]


def _name(metric: Metric, figure: Figure) -> str:
    own = f"{metric.label}-{figure.part}" if figure.part else metric.label
    return f"{own}@{figure.against}" if figure.against else own


def _facts(metric: Metric, job: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What a metric needs to know of each source beyond its rows, as the job says."""
    if metric.is_open:
        shared = {key: value for key, value in job["open"].items() if key != "detectors"}
        return [{**shared, "detector": detector} for detector in job["open"]["detectors"]]
    found: Sequence[Mapping[str, Any]] = job.get("trained") or job.get("card") or job["held_out"]
    return found


def _by_class(metric: Metric, values: Values, rows: MergedRows, ok: npt.NDArray[np.bool_]) -> Entry:
    """An accuracy's share of each class that occurs, with its interval."""
    if metric.spec.name not in BY_CLASS:
        return {}
    labels = rows.column("label")[ok]
    names = rows.layout.attributes["classes"]
    found = {int(label): proportion_estimate(values[labels == label]) for label in np.unique(labels)}
    kept = {names[label]: one for label, one in found.items() if label < len(names)}
    return {"per_class": {name: {key: getattr(one, key) for key in PER_CLASS} for name, one in kept.items()}}


def _standings(
    metric: Metric,
    label: str,
    members: Sequence[Contestant],
    columns: Sequence[Values],
    estimates: Sequence[Estimate],
) -> Mapping[int, Standing]:
    sign = SIGNS.get(metric.better(label))
    numbers = [one.number for one in members]
    if sign is None:
        return {number: Standing() for number in numbers}
    means = [estimates[number].value for number in numbers]
    found = stand([columns[number] for number in numbers], means, [one.control for one in members], sign)
    return dict(zip(numbers, found, strict=True))


def _agreement(group: int, sources: Sequence[int], columns: Sequence[Values], **of: Any) -> list[Entry]:
    """How far raters (rows, or metrics) agree in ranking these sources; columns: what each source got, [raters]."""
    found = concordance(np.stack(columns, axis=1)) if len(columns) > 1 else None
    return [{"group": group, "sources": list(sources), **of, **asdict(found)}] if found else []
