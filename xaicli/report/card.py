"""The report card of generated images on a page: a line per figure, a column per store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xaicli.errors import MissingError
from xaicli.evaluate.direction import ARROWS
from xaicli.evaluate.records import metric_records
from xaicli.evaluate.report_card import FIGURES, PARTS, is_unreliable, measured_in
from xaicli.files.artifact import of_store
from xaicli.files.parents import Parents
from xaicli.files.record import Record
from xaicli.files.store import Store

Table = list[list[str]]


def card_table(store: Store, parents: Parents) -> Table:
    """What a scores store says of generated images, the names first; nothing of other subjects."""
    sources = [
        {role: _placed(role, dict(parent), store, parents) for role, parent in source["parents"].items()}
        for source in store.sources
    ]
    found: dict[str, list[Record]] = {}
    for record in metric_records(store, sources, {"id": store.id, "path": str(store.path)}):
        if record["kind"] == "metric":
            found.setdefault(str(record["metric"]), []).append(record)
    if found.keys().isdisjoint(FIGURES):
        return []
    parts = {f"{metric}-{part}" for metric in found for part in PARTS}
    names = [str(record["name"]) for record in next(iter(found.values()))]
    lines = [[_title(records), *_cells(metric, found)] for metric, records in found.items() if metric not in parts]
    return [["", *names], *lines]


def _placed(role: str, parent: dict[str, Any], store: Store, parents: Parents) -> dict[str, Any]:
    """A parent with its path where it is found; a judge is a checkpoint."""
    kind = "checkpoint" if role == "judge" else role
    try:
        return {**parent, "path": str(parents.find(kind, str(parent["id"]), of_store(store)).path)}
    except MissingError:
        return parent


def _title(records: Sequence[Record]) -> str:
    return f"{measured_in(str(records[0]['metric']), records)} {ARROWS[records[0]['better']]}".strip()


def _cells(metric: str, found: dict[str, list[Record]]) -> list[str]:
    """Each store's figure, its interval, and what it is to be compared with."""
    cells = []
    for place, record in enumerate(found[metric]):
        beside = [] if record["low"] is None else [f"{_number(record, 'low')} to {_number(record, 'high')}"]
        for part in PARTS:
            same = found.get(f"{metric}-{part}")
            if same and same[place]["value"] is not None:
                beside.append(f"{part} {_number(same[place])}")
        beside += ["unreliable"] if is_unreliable(record) else []
        value = "-" if record["value"] is None else _number(record)
        cells.append(f"{value} ({', '.join(beside)})" if beside else value)
    return cells


def _number(record: Record, name: str = "value") -> str:
    return f"{100 * record[name]:.1f} %" if record["proportion"] else f"{record[name]:.4g}"
