"""Records as tables, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from rich.box import SIMPLE, SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xaicli.files.record import ARTIFACT_KINDS, Record

PERCENT = ("accuracy", "rate", "drop", "confidence", "game", "mass")


def show_records(records: Sequence[Record], stream: TextIO, color: bool) -> None:
    """Artifacts, metrics and the other kinds each in tables of their own, in that order."""
    console = Console(file=stream, no_color=not color, highlight=False, force_terminal=color)
    groups: dict[str, list[Record]] = {}
    for record in records:
        kind = str(record["kind"])
        groups.setdefault("artifact" if kind in ARTIFACT_KINDS else kind, []).append(record)
    shown = {"artifact": _artifacts, "metric": _metrics, "info": _sheets, "method": _methods}
    for kind, group in groups.items():
        for table in shown.get(kind, _plain)(group):
            console.print(table)


def _artifacts(records: Sequence[Record]) -> Iterator[Table]:
    table = Table(title="Files", title_justify="left", box=SIMPLE_HEAD)
    for name in ("file", "kind", "method", "rows", "failed", "figures"):
        table.add_column(name, overflow="fold")
    for record in records:
        figures = ", ".join(
            f"{escape(key)} {figure(key, value)}" for key, value in dict(record.get("metrics") or {}).items()
        )
        cells = (
            record["path"],
            record["kind"],
            record.get("method"),
            record.get("rows"),
            record.get("failed"),
            figures,
        )
        table.add_row(*(_text(cell) for cell in cells))
    yield table


def _metrics(records: Sequence[Record]) -> Iterator[Table]:
    """A table per checkpoint: one row per metric, one column per method, intervals below the values."""
    checkpoints: dict[str, list[Record]] = {}
    for record in records:
        checkpoint = dict(dict(record.get("parents") or {}).get("checkpoint") or {})
        name = checkpoint.get("path") or str(checkpoint.get("id") or "")[:12]
        checkpoints.setdefault(str(name), []).append(record)
    for name, group in checkpoints.items():
        methods = list(dict.fromkeys(str(record.get("method") or "") for record in group))
        cells = {(str(record["metric"]), str(record.get("method") or "")): record for record in group}
        table = Table(title=f"Scores of {escape(name)}" if name else "Scores", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("metric")
        for method in methods:
            table.add_column(escape(method), justify="right", overflow="fold")
        for metric in dict.fromkeys(metric for metric, _ in cells):
            row = [cells.get((metric, method)) for method in methods]
            table.add_row(escape(metric), *(_interval(record) if record else "" for record in row))
        yield table


def _interval(record: Record) -> str:
    name = str(record["metric"])
    value = figure(name, record.get("value"))
    if record.get("low") is None:
        return value
    low, high = (figure(name, record[bound], digits=3) for bound in ("low", "high"))
    return f"{value}\n[dim]{low.removesuffix(' %')}..{high}[/dim]"


def _methods(records: Sequence[Record]) -> Iterator[Table]:
    """A table per verb: names, what they are, and options with their defaults."""
    verbs: dict[str, list[Record]] = {}
    for record in records:
        verbs.setdefault(str(record["verb"]), []).append(record)
    for verb, group in verbs.items():
        table = Table(title=verb, title_justify="left", box=SIMPLE_HEAD)
        for name, ratio in (("name", None), ("what", 3), ("options", 2)):
            table.add_column(name, ratio=ratio, overflow="fold")
        for record in group:
            names = ", ".join([record["name"], *record["aliases"]])
            table.add_row(escape(names), escape(record["summary"]), _text(record["options"]))
        yield table


def _sheets(records: Sequence[Record]) -> Iterator[Table]:
    """One table per record, a field a row."""
    for record in records:
        table = Table(show_header=False, box=SIMPLE)
        table.add_column("field")
        table.add_column("value", overflow="fold")
        for name, value in record.items():
            if name not in ("xaicli", "kind") and value is not None:
                table.add_row(escape(name), _text(value))
        yield table


def _plain(records: Sequence[Record]) -> Iterator[Table]:
    """Any other kind: its fields are the columns."""
    names = list(dict.fromkeys(name for record in records for name in record if name not in ("xaicli", "kind")))
    table = Table(box=SIMPLE_HEAD)
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for record in records:
        table.add_row(*(_text(record.get(name)) for name in names))
    yield table


def figure(name: str, value: Any, *, digits: int = 4) -> str:
    """A number as a person reads it: rates in percent, others with so many significant digits."""
    if value is None or isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and name.partition("@")[0].split("-")[-1].split("_")[-1] in PERCENT:
        return f"{100 * value:.1f} %"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    """A cell's text; a path such as `[red].h5` is not taken for markup, and what is no UTF-8 is shown escaped."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{escape(str(key))}={_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
