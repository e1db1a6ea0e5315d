"""Records as tables, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from rich.box import SIMPLE, SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from xaicli.cli.card_table import card_tables, is_card
from xaicli.cli.cells import figure, text
from xaicli.cli.score_grid import score_grids
from xaicli.cli.score_table import score_tables
from xaicli.files.record import ARTIFACT_KINDS, Record

TOGETHER = {"concordance": "metric"}  # shown in the tables of another kind

Show = Callable[[Sequence[Record]], Iterator[RenderableType]]


def show_records(records: Sequence[Record], stream: TextIO, color: bool) -> None:
    """Artifacts, metrics and the other kinds each in tables of their own, in that order."""
    console = Console(file=stream, no_color=not color, highlight=False, force_terminal=color)
    groups: dict[str, list[Record]] = {}
    for record in records:
        kind = str(record["kind"])
        groups.setdefault("artifact" if kind in ARTIFACT_KINDS else TOGETHER.get(kind, kind), []).append(record)

    def scores(group: Sequence[Record]) -> Iterator[RenderableType]:
        for grid in score_grids(group):
            yield from card_tables(grid) if is_card(grid) else score_tables(grid, console.width)

    shown: dict[str, Show] = {"artifact": _artifacts, "metric": scores, "info": _sheets, "method": _methods}
    for kind, group in groups.items():
        for table in shown.get(kind, _plain)(group):
            console.print(table)


def _artifacts(records: Sequence[Record]) -> Iterator[Table]:
    table = Table(title="Files", title_justify="left", box=SIMPLE_HEAD)
    for name in ("file", "kind", "method", "rows", "failed", "figures"):
        table.add_column(name, overflow="fold")
    for record in records:
        cells = (
            record["path"],
            record["kind"],
            record.get("method"),
            record.get("rows"),
            record.get("failed"),
            _figures(dict(record.get("metrics") or {})),
        )
        table.add_row(*(text(cell) for cell in cells))
    yield table


def _figures(metrics: dict[str, Any]) -> str:
    """The single numbers, and the sanity checks that failed; intervals, classes and curves are for records."""
    plain = {key: value for key, value in metrics.items() if not isinstance(value, dict | list)}
    if "sanity" in metrics:
        failed = [check for check, found in metrics["sanity"].items() if not found["passed"]]
        plain["sanity"] = f"FAILED: {', '.join(failed)}" if failed else "passed"
    return ", ".join(f"{escape(key)} {figure(key, value)}" for key, value in plain.items())


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
            table.add_row(escape(names), escape(record["summary"]), text(record["options"]))
        yield table


def _sheets(records: Sequence[Record]) -> Iterator[Table]:
    """One table per record, a field a row."""
    for record in records:
        table = Table(show_header=False, box=SIMPLE)
        table.add_column("field")
        table.add_column("value", overflow="fold")
        for name, value in record.items():
            if name not in ("xaicli", "kind") and value is not None:
                table.add_row(escape(name), text(value))
        yield table


def _plain(records: Sequence[Record]) -> Iterator[Table]:
    """Any other kind: its fields are the columns."""
    names = list(dict.fromkeys(name for record in records for name in record if name not in ("xaicli", "kind")))
    table = Table(box=SIMPLE_HEAD)
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for record in records:
        table.add_row(*(text(record.get(name)) for name in names))
    yield table
