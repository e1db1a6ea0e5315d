"""Scores for papers: one CSV line per explainer and metric, and LaTeX tables in booktabs' manner."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaicli.cli.cells import number
from xaicli.cli.score_grid import Column, Grid, Row, score_grids
from xaicli.errors import UsageError
from xaicli.files.atomic import publish
from xaicli.files.record import Record

KINDS = ("metric", "concordance")
FIELDS = ("value", "low", "high", "n", "undefined", "rank", "best", "p", "effect", "worse")
METRICS_BESIDE = 5  # in one tabular: with intervals, more do not fit a page
ARROWS = {"lower": r" $\downarrow$", "higher": r" $\uparrow$", "neither": ""}
LOOKS = {"best": r"\textbf{%s}", "tied": r"\underline{%s}", "beats": r"%s$^{\dagger}$", "": "%s"}
LEGEND = "bold: best; underlined: not significantly worse (paired Wilcoxon, Holm); dagger: a control that beats it"
_SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@dataclass(frozen=True)
class Papers:
    """The files asked for by --csv and --latex."""

    csv: Path | None = None
    latex: Path | None = None

    def __post_init__(self) -> None:
        """An artifact's name given by mistake is not overwritten."""
        for option, path, suffix in (("--csv", self.csv, ".csv"), ("--latex", self.latex, ".tex")):
            if path is not None and path.suffix.lower() != suffix:
                raise UsageError(f"{option} '{path}' is not named {suffix}; call it '{path.stem}{suffix}'.")

    @property
    def wanted(self) -> bool:
        """Whether any was."""
        return self.csv is not None or self.latex is not None

    def write(self, records: Sequence[Record]) -> None:
        """Write the metric records of a command, each file at once or not at all."""
        grids = list(score_grids(records))
        for path, lines in ((self.csv, csv_text), (self.latex, latex_text)):
            if path is not None:
                with publish(path) as file:
                    file.write(lines(grids).encode())


def csv_text(grids: Sequence[Grid]) -> str:
    """A line per explainer and metric; numbers in full, fractions as fractions, what is not known empty."""
    buffer = io.StringIO()
    names = ("checkpoint", "name", "method", "control", "metric", "quantity", "baseline", "better")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow((*names, *FIELDS, "concordance"))
    for grid in grids:
        for column in grid.columns:
            for row in grid.rows:
                if record := row.records.get(column.metric):
                    baseline = dict(record["options"] or {}).get("baseline")
                    about = (grid.checkpoint, row.name, record["method"], row.control, column.metric)
                    agreement = column.agreement["value"] if column.agreement else None
                    figures = (record.get(name) for name in FIELDS)
                    line = (*about, record["quantity"], baseline, column.better, *figures, agreement)
                    writer.writerow(["" if value is None else _plain(value) for value in line])
    return buffer.getvalue()


def latex_text(grids: Sequence[Grid]) -> str:
    r"""A `tabular` per checkpoint and five metrics, to be put into a table with \input; needs booktabs."""
    lines = [r"% \usepackage{booktabs}", f"% {LEGEND}; in brackets 95 % intervals"]
    for grid in grids:
        for start in range(0, len(grid.columns), METRICS_BESIDE):
            lines += ["", f"% {_one_line(grid.title)}", *_tabular(grid, grid.columns[start : start + METRICS_BESIDE])]
    return "\n".join(lines) + "\n"


def _tabular(grid: Grid, columns: Sequence[Column]) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{l{'r' * len(columns)}}}"
    yield r"\toprule"
    yield _line("", *(escape(column.metric) + ARROWS[column.better] for column in columns))
    if any(column.asked or column.percent for column in columns):
        yield _line("", *(escape(", ".join([*column.asked, *(["%"] if column.percent else [])])) for column in columns))
    for section in grid.sections:
        yield r"\midrule"
        for row in section:
            yield _line(escape(row.name), *(_cell(grid, row, column) for column in columns))
    if any(column.agreement for column in columns):
        yield r"\midrule"
        values = (number(column.agreement["value"], 2) if column.agreement else "" for column in columns)
        yield _line("Kendall's $W$", *values)
    yield r"\bottomrule"
    yield r"\end{tabular}"
    for column in columns:
        for row in grid.rows:
            if undefined := row.records.get(column.metric, {}).get("undefined"):
                yield f"% {_one_line(f'{row.name}, {column.metric}')}: undefined for {undefined} images"


def _line(*cells: str) -> str:
    return " & ".join(cells) + r" \\"


def _cell(grid: Grid, row: Row, column: Column) -> str:
    record = row.records.get(column.metric)
    if record is None or record.get("value") is None:
        return "--"
    shown = LOOKS[grid.mark(row, column.metric)] % _minus(column.write(record["value"]))
    if record.get("low") is None:
        return shown
    low, high = (_minus(column.write(record[bound])) for bound in ("low", "high"))
    return rf"{shown} {{\scriptsize [{low}, {high}]}}"


def escape(text: str) -> str:
    """Text as LaTeX sets it."""
    return "".join(_SPECIAL.get(char, char) for char in _one_line(text))


def _minus(text: str) -> str:
    return f"${text}$" if text.startswith("-") else text


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
