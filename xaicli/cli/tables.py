"""Records as tables, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xaicli.files.record import Record

PERCENT = ("accuracy", "rate", "drop", "confidence", "game", "mass")


def show_records(records: Sequence[Record], stream: TextIO, color: bool) -> None:
    """Artifacts, metrics and the other kinds each as one table, in that order."""
    console = Console(file=stream, no_color=not color, highlight=False, force_terminal=color)
    groups: dict[str, list[Record]] = {}
    for record in records:
        kind = "artifact" if "path" in record and "id" in record else str(record["kind"])
        groups.setdefault(kind, []).append(record)
    for kind, group in groups.items():
        console.print({"artifact": _artifacts, "metric": _metrics}.get(kind, _plain)(group))


def _artifacts(records: Sequence[Record]) -> Table:
    table = Table(title="Files", title_justify="left")
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
    return table


def _metrics(records: Sequence[Record]) -> Table:
    """One row per method and checkpoint, one column per metric, intervals below the value."""
    metrics = list(dict.fromkeys(str(record["metric"]) for record in records))
    rows: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records:
        checkpoint = str(dict(dict(record.get("parents") or {}).get("checkpoint") or {}).get("path") or "")
        rows.setdefault((checkpoint, str(record.get("method") or "")), {})[str(record["metric"])] = record
    table = Table(title="Scores", title_justify="left")
    checkpoints = len({checkpoint for checkpoint, _ in rows}) > 1
    if checkpoints:
        table.add_column("checkpoint", overflow="fold")
    table.add_column("method")
    for name in metrics:
        table.add_column(escape(name), justify="right")
    for (checkpoint, method), cells in rows.items():
        values = [_interval(cells[name]) if name in cells else "" for name in metrics]
        table.add_row(*([escape(checkpoint)] if checkpoints else []), escape(method), *values)
    return table


def _interval(record: Record) -> str:
    name = str(record["metric"])
    value = figure(name, record.get("value"))
    if record.get("low") is None:
        return value
    return f"{value}\n[dim]{figure(name, record['low'])} .. {figure(name, record['high'])}[/dim]"


def _plain(records: Sequence[Record]) -> Table:
    """Any other kind: its fields are the columns."""
    names = list(dict.fromkeys(name for record in records for name in record if name not in ("xaicli", "kind")))
    table = Table()
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for record in records:
        table.add_row(*(_text(record.get(name)) for name in names))
    return table


def figure(name: str, value: Any) -> str:
    """A number as a person reads it: rates in percent, others with four significant digits."""
    if value is None or isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and name.partition("@")[0].split("-")[-1].split("_")[-1] in PERCENT:
        return f"{100 * value:.1f} %"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(value: Any) -> str:
    """A cell's text; a path such as `[red].h5` is not taken for markup, and what is no UTF-8 is shown escaped."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{escape(str(key))}={_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
