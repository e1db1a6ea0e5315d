"""Scores as CSV and LaTeX, read back."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from tests.cli.scores import records
from xaicli.cli.paper import FIELDS, Papers, csv_text, escape, latex_text
from xaicli.cli.score_grid import score_grids
from xaicli.errors import UsageError
from xaicli.files.record import Record


def read_value(text: str) -> float | bool | None:
    return {"": None, "true": True, "false": False}[text] if text in ("", "true", "false") else float(text)


def test_csv_holds_every_figure_in_full() -> None:
    found = {(record["name"], record["metric"]): record for record in records() if record["kind"] == "metric"}
    lines = list(csv.DictReader(io.StringIO(csv_text(list(score_grids(records()))))))
    assert len(lines) == len(found) == 10
    for line in lines:
        record = found[line["name"], line["metric"]]
        assert {name: read_value(line[name]) for name in FIELDS} == {name: record[name] for name in FIELDS}
        assert line["checkpoint"] == "m.safetensors"
        assert (line["control"] == "true") == (line["name"] in ("random", "edges"))
        assert line["baseline"] == ("black" if line["metric"] == "deletion" else "")
        assert line["better"] == record["better"]
        assert line["concordance"] == ("0.734" if line["metric"] == "deletion" else "")


def cells(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.removesuffix(r"\\").split(" & ")]
        for line in text.splitlines()
        if line.endswith(r"\\")
    ]


def test_latex_is_a_booktabs_table_with_the_same_cells() -> None:
    text = latex_text(list(score_grids(records())))
    rows = {row[0]: row[1:] for row in cells(text)}
    assert rows["gradcam"] == [
        r"\textbf{0.1310} {\scriptsize [0.1179, 0.1441]}",
        r"\underline{50.0} {\scriptsize [45.0, 55.0]}",
    ]
    assert rows["lime"] == [r"0.2000 {\scriptsize [0.1800, 0.2200]}", "--"]
    assert rows["edges"][0].startswith(r"0.1250$^{\dagger}$ ")
    assert rows["Kendall's $W$"] == ["0.73", ""]
    assert cells(text)[0] == ["", r"deletion $\downarrow$", r"pointing-game $\uparrow$"]
    assert cells(text)[1] == ["", "probability, black", r"\%"]
    rules = [line for line in text.splitlines() if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\midrule", r"\midrule", r"\bottomrule"]
    body = text.split(r"\begin{tabular}{lrr}")[1].split(r"\end{tabular}")[0]
    assert body.count("{") == body.count("}")
    assert "% gradcam, pointing-game: undefined for 12 images" in text


def test_latex_of_many_metrics_is_cut_into_tables_that_fit_a_page() -> None:
    found: list[Record] = [record | {"metric": f"m{count}"} for count in range(12) for record in records()[:5]]
    text = latex_text(list(score_grids(found)))
    assert re.findall(r"\\begin\{tabular\}\{(l\w+)\}", text) == ["lrrrrr", "lrrrrr", "lrr"]
    assert [row[1:] for row in cells(text) if row[0] == ""][-2] == [r"m10 $\downarrow$", r"m11 $\downarrow$"]


def test_what_latex_would_understand_is_escaped() -> None:
    assert escape(r"a_b & 50 % of {x^2} ~ #1 \input") == (
        r"a\_b \& 50 \% of \{x\textasciicircum{}2\} \textasciitilde{} \#1 \textbackslash{}input"
    )
    sly = [record | {"name": "x\n\\input{y}"} for record in records()[:1]]
    assert "\n\\input" not in latex_text(list(score_grids(sly)))


def test_both_files_are_written_whole(tmp_path: Path) -> None:
    papers = Papers(tmp_path / "new" / "s.csv", tmp_path / "s.tex")
    papers.write(records())
    grids = list(score_grids(records()))
    assert (tmp_path / "new" / "s.csv").read_text() == csv_text(grids)
    assert (tmp_path / "s.tex").read_text() == latex_text(grids)
    papers.write(records()[:2])
    assert (tmp_path / "s.tex").read_text() == latex_text(list(score_grids(records()[:2])))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "s.csv", "s.tex"]


@pytest.mark.parametrize("path", ["m.safetensors", "maps.h5", "scores"])
def test_an_artifacts_name_is_refused(path: str) -> None:
    for papers in ({"csv": Path(path)}, {"latex": Path(path)}):
        with pytest.raises(UsageError, match="is not named"):
            Papers(**papers)
