"""The table of scores as it stands on a terminal."""

from __future__ import annotations

import io
from math import ceil
from typing import Any

import pytest

from tests.cli.scores import BETTER, CHECKPOINT, SCORES, agreement, metric, records
from xaicli.cli.cells import decimals, number
from xaicli.cli.tables import show_records
from xaicli.files.record import Record

WHOLE = """\
Scores of m.safetensors, 200 images

                            deletion ↓
                           probability   pointing-game ↑
                                 black              in %
─────────────────────────────────────────────────────────
gradcam                        0.1310*             50.0≈
                        0.1179..0.1441        45.0..55.0
                                            12 undefined
integrated-gradients:          0.1345≈             75.0*
steps=128               0.1211..0.1479        67.5..82.5
lime                            0.2000                 -
                        0.1800..0.2200     200 undefined

random                          0.4000              25.0
                        0.3600..0.4400        22.5..27.5
edges                          0.1250!             30.0≈
                        0.1125..0.1375        27.0..33.0

images agree (W)                  0.73

* best; ≈ not significantly worse than the best (paired Wilcoxon, Holm, 5 %); !
a control that beats the best explainer; 95 % intervals; W: how far images agree
on the order, 1 if all do
"""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    def show(found: list[Record], width: int = 80, *, color: bool = False) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        stream = io.StringIO()
        show_records(found, stream, color)
        return "\n".join(line.rstrip().removeprefix(" ") for line in stream.getvalue().splitlines())

    return show


def test_the_whole_table(shown: Any) -> None:
    assert shown(records()) == WHOLE


def test_narrow_screens_get_blocks_of_columns(shown: Any) -> None:
    lines = shown(records(), 45).splitlines()
    assert max(map(len, lines)) <= 45
    assert [line.split()[-2:] for line in lines if "↓" in line or "↑" in line] == [
        ["deletion", "↓"],
        ["pointing-game", "↑"],
    ]
    assert sum(line.startswith("gradcam ") for line in lines) == 2
    assert sum(line.startswith("Scores of") for line in lines) == 1


@pytest.mark.parametrize("width", [80, 100, 120])
def test_thirty_metrics_fit_every_screen(width: int, shown: Any) -> None:
    found = []
    for count in range(30):
        for record in records()[:5]:
            found.append(record | {"metric": f"monotonicity-correlation{count}@salt-pepper"})
    lines = shown(found, width).splitlines()
    assert max(map(len, lines)) <= width
    table = [line for line in lines if line.startswith("lime ")]
    assert sum(line.count("0.2000") for line in table) == 30
    assert len(table) <= ceil(30 / ((width - 24) // 18))


def test_the_best_is_bold_and_controls_slanted_where_there_are_colours(shown: Any) -> None:
    colored = shown(records(), color=True)
    assert "\x1b[1m0.1310*\x1b[0m" in colored
    assert "\x1b[3mrandom" in colored and "\x1b[3mlime" not in colored
    assert "\x1b" not in shown(records())


def test_one_explainer_is_not_the_best_of_anything(shown: Any) -> None:
    found = [record for record in records() if record.get("name") in ("gradcam", "random", "edges")]
    text = shown(found)
    assert "0.1310 " in text and "*" not in text
    assert "0.1250!" in text  # yet a control that beats it is seen


def test_nobody_is_best_where_all_are_alike(shown: Any) -> None:
    alike: dict[str, Any] = {"rank": 1, "best": True}
    found = [metric(name, "pointing-game", 0.5, **alike) for name in ("gradcam", "lime")]
    assert "*" not in shown(found)
    assert shown([*found, metric("lrp", "pointing-game", 0.4, rank=3)]).count("50.0*") == 2


def test_two_checkpoints_have_a_table_each_and_pairs_their_own(shown: Any) -> None:
    other = {"checkpoint": {"id": "d" * 64, "path": "robust.safetensors"}, "attributions": {"id": "e" * 64}}
    twice = [record | {"group": 1, "parents": {**record["parents"], **other}} for record in records()[:2]]
    pair = metric("gradcam ~ lime", "perturbation", 0.7) | {"with": {"name": "lime", "parents": {}}}
    long = pair | {"name": "integrated-gradients:steps=8 ~ lime"}
    assert "\nintegrated-gradients:" in shown([long]) and "\nsteps=8 ~ " in shown([long])
    titles = [line for line in shown([*records(), *twice, pair]).splitlines() if " images" in line and " of " in line]
    assert titles == [
        "Scores of m.safetensors, 200 images",
        "Scores of robust.safetensors, 200 images",
        "Pairs of m.safetensors, 200 images",
    ]


def test_models_are_rows_of_one_table(shown: Any) -> None:
    found = []
    for place, name in enumerate(("standard", "robust")):
        parents = {"checkpoint": {"id": str(place) * 64, "path": f"{name}.safetensors"}, "scores": SCORES}
        found.append(metric(name, "pointing-game", 0.5 + 0.1 * place, parents=parents, rank=2 - place))
    found[1] |= {"best": True}
    lines = shown(found).splitlines()
    assert lines[0] == "Scores, 200 images"
    assert [line.split()[:2] for line in lines if line.startswith(("standard", "robust"))] == [
        ["standard", "50.0"],
        ["robust", "60.0*"],
    ]


def test_the_agreement_of_metrics_is_said_below(shown: Any) -> None:
    overall = agreement("deletion", 0.4667) | {"metric": None, "metrics": ["deletion", "n-ord@blur"], "raters": 2}
    text = " ".join(shown([*records(), overall | {"statistic": "tau-b"}]).split())
    assert "the 2 metrics agree with tau-b = 0.47" in text


def test_the_table_of_an_old_store_has_no_marks(shown: Any) -> None:
    """Fields that a version before 0.2 did not write are null."""
    new = ("rank", "best", "p", "effect", "worse", "better", "proportion")
    text = shown([record | dict.fromkeys(new) for record in records()[:5]])
    assert "0.1310\n" in text and not {*"*≈!↓"} & {*text}


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.131, 0.2], ["0.1310", "0.2000"]),
        ([12.3456, 0.5], ["12.35", "0.50"]),
        ([-1.5, 0.0], ["-1.500", "0.000"]),
        ([12345.6, 99.0], ["12346", "99"]),
        ([1e-7, 0.5], ["1e-07", "0.5"]),
        ([3e-9], ["3e-09"]),
        ([2.5e7], ["2.5e+07"]),
        ([0.0], ["0.0"]),
    ],
)
def test_numbers_of_a_column_have_as_many_places(values: list[float], texts: list[str]) -> None:
    places = decimals(values)
    assert [number(value, places) for value in values] == texts
    assert number(None, places) == "-"
    assert number(0.12345, places, percent=True) == "12.3"


DETECTORS = """\
Scores of
m.safetensors,
200 images

     open-set-
       closed-
    accuracy ↑
          in %
───────────────
m         90.0
    81.0..99.0

95 % intervals

Detectors against noise of
m.safetensors, 200 images

                       fpr95-unknown-
                               kept ↓
             auroc ↑             in %
──────────────────────────────────────
msp           0.8000             50.0
      0.7200..0.8800       45.0..55.0
knn           0.9000             25.0
      0.8100..0.9900       22.5..27.5

95 % intervals
"""


def test_detectors_have_a_table_for_each_source_of_unknown_rows(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, way in (("closed-accuracy", "higher"), ("auroc@noise", "higher"), ("fpr95-unknown-kept@noise", "lower")):
        monkeypatch.setitem(BETTER, f"open-set-{name}", way)
    parents = {"checkpoint": CHECKPOINT, "scores": {"id": "5" * 64}}
    found = [metric("m", "open-set-closed-accuracy", 0.9, parents=parents, proportion=True)]
    for detector, area, rate in (("msp", 0.8, 0.5), ("knn", 0.9, 0.25)):
        own = {"detector": detector, "parents": parents}
        found.append(metric(detector, "open-set-auroc@noise", area, **own))
        found.append(metric(detector, "open-set-fpr95-unknown-kept@noise", rate, **own, proportion=True))
    assert shown(found) == DETECTORS
