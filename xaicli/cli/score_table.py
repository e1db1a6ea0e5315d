"""Scores on a terminal: blocks of metrics as wide as the screen, the best explainer marked, controls set apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from xaicli.cli.cells import number
from xaicli.cli.score_grid import Column, Grid, Row

MARKS = {"best": "*", "tied": "≈", "beats": "!", "": " "}
MEANINGS = {
    "best": "best",
    "tied": "not significantly worse than the best (paired Wilcoxon, Holm, 5 %)",
    "beats": "a control that beats the best explainer",
}
NAME_WIDTH = 24
HEAD_WIDTH = 14
AGREEMENT = "images agree (W)"


def score_tables(grid: Grid, width: int) -> Iterator[RenderableType]:
    """The grid's tables, each at most `width` wide, and a line that explains the marks."""
    blocks = _blocks(grid, width)
    for place, block in enumerate(blocks):
        yield _table(grid, block, title=grid.title if place == 0 else None)
    yield Text(_legend(grid), style="dim")
    yield Text("")


def _table(grid: Grid, columns: Sequence[Column], *, title: str | None) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for column in columns:
        table.add_column(Text("\n").join(_head(column)), justify="right", no_wrap=True)
    for place, section in enumerate(grid.sections):
        if place and max(len(one) for one in grid.sections) > 1:
            table.add_section()
        for row in section:
            cells = (Text("\n").join(_cell(grid, row, column)) for column in columns)
            table.add_row(Text("\n".join(_folded(row.name, NAME_WIDTH)), style="italic" if row.control else ""), *cells)
    if any(column.agreement for column in columns):
        table.add_section()
        table.add_row(Text(AGREEMENT, style="dim"), *(Text(_agreement(column), style="dim") for column in columns))
    return table


def _head(column: Column) -> list[Text]:
    """The metric's name in short lines with its arrow, then the quantity and the baseline that it looked at."""
    lines = _folded(column.heading, HEAD_WIDTH)
    lines[-1] += f" {column.arrow}" if column.arrow else ""
    unit = [Text("in %", style="dim")] if column.percent else []
    return [*(Text(f"{line} ") for line in lines), *(Text(f"{part} ", style="dim") for part in column.asked), *unit]


def _folded(name: str, width: int) -> list[str]:
    """A name cut after its hyphens and other signs, greedily; a pair between its two names."""
    first, tilde, second = name.partition(" ~ ")
    if tilde and len(name) > width:
        return [*_folded(f"{first} ~", width), *_folded(second, width)]
    lines = [""]
    for piece in re.findall(r"[^-@:,]*[-@:,]?", name):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return lines


def _cell(grid: Grid, row: Row, column: Column) -> list[Text]:
    """The value with its mark, its interval, and how many rows were undefined."""
    record = row.records.get(column.metric)
    if record is None:
        return [Text("")]
    mark = grid.mark(row, column.metric)
    lines = [Text(column.write(record.get("value")) + MARKS[mark], style="bold" if mark == "best" else "")]
    if record.get("low") is not None:
        lines.append(Text(f"{column.write(record['low'])}..{column.write(record['high'])} ", style="dim"))
    if record.get("undefined"):
        lines.append(Text(f"{record['undefined']} undefined ", style="dim"))
    return lines


def _agreement(column: Column) -> str:
    return f"{number(column.agreement['value'], 2)} " if column.agreement else ""


def _blocks(grid: Grid, width: int) -> list[list[Column]]:
    """As many columns at a time as fit beside the names, at least one."""
    names = max(
        len(line) for name in (AGREEMENT, *(row.name for row in grid.rows)) for line in _folded(name, NAME_WIDTH)
    )
    blocks: list[list[Column]] = []
    used = width + 1
    for column in grid.columns:
        texts = [*_head(column), *(line for row in grid.rows for line in _cell(grid, row, column))]
        needed = max(len(line) for line in texts) + 2
        if used + needed > width:
            blocks.append([])
            used = names + 3
        blocks[-1].append(column)
        used += needed
    return blocks


def _legend(grid: Grid) -> str:
    used = {grid.mark(row, column.metric) for row in grid.rows for column in grid.columns}
    parts = [f"{MARKS[mark]} {meaning}" for mark, meaning in MEANINGS.items() if mark in used]
    if any(record.get("low") is not None for row in grid.rows for record in row.records.values()):
        parts.append("95 % intervals")
    if any(column.agreement for column in grid.columns):
        parts.append("W: how far images agree on the order, 1 if all do")
    if found := grid.agreement:
        name = "tau-b" if found["statistic"] == "tau-b" else "W"
        parts.append(f"the {found['raters']} metrics agree with {name} = {found['value']:.2f}")
    return "; ".join(parts)
