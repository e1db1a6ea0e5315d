"""The report card of generated images on a terminal: a line per figure, a column per store."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from xaicli.cli.score_grid import Column, Grid, Row
from xaicli.evaluate.report_card import FIGURES, PARTS, is_unreliable, measured_in


def is_card(grid: Grid) -> bool:
    """Whether these are the scores of generated images."""
    return any(column.metric in FIGURES for column in grid.columns)


def card_tables(grid: Grid) -> Iterator[RenderableType]:
    """One table: each figure with its interval, and below it what it is to be compared with."""
    columns = {column.metric: column for column in grid.columns}
    below = {name: _below(name, columns) for name in columns}
    inner = {part.metric for parts in below.values() for part in parts}
    names, method = _names(grid)
    title = grid.title.replace("Scores", f"Report card of {method}" if method else "Report card", 1)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold")
    for name, column in columns.items():
        if name not in inner:
            cells = (Text("\n").join(_cell(row, column, below[name])) for row in grid.rows)
            title = measured_in(name, [row.records.get(name, {}) for row in grid.rows])
            table.add_row(Text(f"{title} {column.arrow}"), *cells)
    yield table
    yield Text("; ".join(_legend(grid, bool(inner))), style="dim")
    yield Text("")


def _names(grid: Grid) -> tuple[list[str], str]:
    """The stores' names, and the generator where all have the same: then they are the models' names."""
    parts = [row.name.partition(": ") for row in grid.rows]
    methods = {method for _, _, method in parts}
    if len(methods) == 1 and (method := methods.pop()):
        return [model for model, _, _ in parts], method
    return [row.name for row in grid.rows], ""


def _legend(grid: Grid, compared: bool) -> Iterator[str]:
    """What the signs mean that were used."""
    yield "95 % intervals"
    if compared:
        yield "ceiling: real images; floor: what was begun from, of distances to real images that of training images"
    if any(is_unreliable(record) for row in grid.rows for record in row.records.values()):
        yield "! unreliable: fewer than two images a feature"


def _below(name: str, columns: dict[str, Column]) -> list[Column]:
    """The parts of a figure that stand below it."""
    return [columns[f"{name}-{part}"] for part in PARTS if f"{name}-{part}" in columns]


def _cell(row: Row, column: Column, below: list[Column]) -> Iterator[Text]:
    record = row.records.get(column.metric, {})
    mark = " !" if is_unreliable(record) else ""
    unit = " %" if column.percent and record.get("value") is not None else ""
    yield Text(f"{column.write(record.get('value'))}{unit}{mark}")
    if record.get("low") is not None:
        yield Text(f"{column.write(record['low'])}..{column.write(record['high'])}", style="dim")
    for part in below:
        value = row.records.get(part.metric, {}).get("value")
        if value is not None:
            yield Text(f"{part.metric.removeprefix(f'{column.metric}-')} {part.write(value)}", style="dim")
