"""Metric records as grids for tables and papers: a row per explainer or model, a column per metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaicli.cli.cells import decimals, is_percent, number
from xaicli.evaluate.direction import ARROWS, Better
from xaicli.files.record import Record

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Column:
    """One metric: its name, which way is better, what it looked at, and how its numbers are written.

    heading: the name less what the title says of all columns.
    """

    metric: str
    better: Better
    asked: tuple[str, ...]  # quantity and baseline, where it has them
    percent: bool
    places: int | None
    agreement: Record | None  # of the images in ranking the rows
    heading: str

    @property
    def arrow(self) -> str:
        """The way that is better, as an arrow."""
        return ARROWS[self.better]

    def write(self, value: float | None) -> str:
        """A number of this column."""
        return number(value, self.places, self.percent)


@dataclass(frozen=True)
class Row:
    """One explainer or model with its records by metric."""

    name: str
    group: int
    control: bool
    records: dict[str, Record]


@dataclass(frozen=True)
class Grid:
    """What is compared in one table.

    sections: rows that stand together; controls are the last. agreement: of the metrics, in ranking the rows.
    """

    checkpoint: str
    title: str
    columns: tuple[Column, ...]
    sections: tuple[tuple[Row, ...], ...]
    agreement: Record | None

    @property
    def rows(self) -> list[Row]:
        """All rows, in order."""
        return [row for section in self.sections for row in section]

    def mark(self, row: Row, metric: str) -> str:
        """`best`, `tied` (not significantly worse than the best), `beats` (a control that is better) or nothing.

        Where no explainer is worse than another, none is the best.
        """
        record = row.records.get(metric)
        if record is None:
            return ""
        if record.get("best"):
            beside = [one.records.get(metric, {}) for one in self.rows if one.group == row.group]
            return "best" if any(one.get("rank", 1) not in (1, None) for one in beside) else ""
        if record.get("worse") is not False:
            return ""
        beats = row.control and record["p"] < SIGNIFICANT and record["effect"] > 0
        return "beats" if beats else "tied"


def score_grids(records: Sequence[Record]) -> Iterator[Grid]:
    """Grids of `metric` and `concordance` records: one per checkpoint whose explainers are compared, or one per run."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(str(_parent(record, "scores").get("id")), []).append(record)
    for run in runs.values():
        explained = any("attributions" in (record.get("parents") or {}) for record in run)
        groups = list(dict.fromkeys(record["group"] for record in run))
        pairs = [record for record in run if "with" in record]
        alone = [record for record in run if "with" not in record and "detector" not in record]
        parts = [[record for record in alone if record["group"] == group] for group in groups] if explained else [alone]
        for part, what in (*((part, "Scores") for part in parts), (pairs, "Pairs")):
            if part:
                yield _grid(part, what)
        yield from _detectors([record for record in run if "detector" in record])


def _detectors(records: Sequence[Record]) -> Iterator[Grid]:
    """A grid for each source of unknown rows that detectors are judged against; a row for each detector."""
    sources: dict[str, list[Record]] = {}
    for record in records:
        sources.setdefault(str(record["metric"]).partition("@")[2], []).append(record)
    for source, part in sources.items():
        yield _grid(part, f"Detectors against {source}", "open-set-", f"@{source}")


def _grid(records: Sequence[Record], what: str, before: str = "", after: str = "") -> Grid:
    """before, after: what the name of every metric begins and ends with, and no heading says."""
    scores = [record for record in records if record["kind"] == "metric"]
    agreement = [record for record in records if record["kind"] == "concordance"]
    rows: dict[tuple[int, str], Row] = {}
    for record in scores:
        name, group = str(record["name"]), int(record["group"])
        row = rows.setdefault((group, name), Row(name, group, bool(record["control"]), {}))
        row.records[str(record["metric"])] = record
    metrics = list(dict.fromkeys(str(record["metric"]) for record in scores))
    parts = dict.fromkeys((row.group, row.control) for row in sorted(rows.values(), key=lambda row: row.control))
    sections = [tuple(row for row in rows.values() if (row.group, row.control) == part) for part in parts]
    several = len({record["group"] for record in agreement}) > 1  # of models under several attacks
    checkpoints = {_file(_parent(record, "checkpoint")) for record in scores}
    name = checkpoints.pop() if len(checkpoints) == 1 else ""
    noun = "splits" if "splits" in scores[0] else "images"
    count = max(int(record["n"] or 0) + int(record.get("undefined") or 0) for record in scores)
    return Grid(
        name,
        f"{what} of {name}, {count} {noun}" if name else f"{what}, {count} {noun}",
        tuple(
            _column(metric, scores, [] if several else agreement, metric.removeprefix(before).removesuffix(after))
            for metric in metrics
        ),
        tuple(sections),
        next((record for record in agreement if record.get("metrics") and not several), None),
    )


def _column(metric: str, scores: Sequence[Record], agreement: Sequence[Record], heading: str) -> Column:
    own = [record for record in scores if record["metric"] == metric]
    first = own[0]
    quantity, baseline = first.get("quantity"), (first.get("options") or {}).get("baseline")
    found = [record[name] for record in own for name in ("value", "low", "high") if record.get(name) is not None]
    values = [record["value"] for record in own if record.get("value") is not None]
    return Column(
        metric,
        first.get("better") or "neither",
        tuple(str(part) for part in (quantity, baseline) if part),
        bool(first.get("proportion")) or is_percent(metric),
        decimals(values or found),
        next((record for record in agreement if record.get("metric") == metric), None),
        heading,
    )


def _parent(record: Record, role: str) -> dict[str, Any]:
    return dict((record.get("parents") or {}).get(role) or {})


def _file(parent: Mapping[str, Any]) -> str:
    """A parent by its file's name, or by its id where the file is not known."""
    return Path(parent["path"]).name if parent.get("path") else str(parent.get("id") or "")[:12]
