"""From columns of scores to aggregates and records, without a model."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.evaluate.test_contestants import source
from xaicli.evaluate.aggregate import summarise_scores
from xaicli.evaluate.concordance import kendall_w
from xaicli.evaluate.standings import signed_rank
from xaicli.evaluate.statistics import mean_estimate, proportion_estimate
from xaicli.files.columns import Status
from xaicli.specs import parse_spec

ROWS = 50
SOURCES = (
    source("gradcam", role="attributions"),
    source("lime", role="attributions"),
    source("lrp", role="attributions"),
    source("random"),
)


@dataclass
class Layout:
    job: dict[str, Any]
    sources: tuple[dict[str, Any], ...]


@dataclass
class Rows:
    """As merged rows hand columns out."""

    layout: Layout
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def column(self, name: str) -> np.ndarray:
        return self.columns[name]


def rows_of(*metrics: str, sources: tuple[dict[str, Any], ...] = SOURCES) -> Rows:
    """Scores of four sources by these metrics: the higher the number of the source, the larger; row 7 failed."""
    specs = [parse_spec("evaluate", text) for text in metrics]
    rows = Rows(Layout({"seed": 3, "metrics": [[spec.name, spec.record] for spec in specs]}, sources))
    rng = np.random.default_rng(4)
    rows.columns["status"] = np.full(ROWS, Status.OK, np.uint8)
    rows.columns["status"][7] = Status.NON_FINITE
    for number in range(len(sources)):
        for spec in specs:
            values = (0.1 * number + rng.random(ROWS)).astype(np.float32)
            hits = (values > 0.6).astype(np.float32)
            rows.columns[f"sources/{number}/{spec.name}"] = hits if spec.name == "pointing-game" else values
    return rows


def summary(rows: Rows) -> dict[str, Any]:
    return {name.removeprefix("aggregates/"): json.loads(text) for name, text in summarise_scores(rows).items()}


def test_aggregates_are_those_of_the_columns_without_failed_rows() -> None:
    rows = rows_of("deletion", "pointing-game", "gini")
    found = {(entry["source"], entry["metric"]): entry for entry in summary(rows)["scores"]}
    assert len(found) == 12
    for (number, metric), entry in found.items():
        values = np.delete(rows.column(f"sources/{number}/{metric}"), 7)
        estimate = proportion_estimate(values) if metric == "pointing-game" else mean_estimate(values, seed=3)
        assert {name: entry[name] for name in ("value", "low", "high", "n")} == {
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "n": 49,
        }
    assert {entry["metric"]: (entry["better"], entry["proportion"]) for entry in found.values()} == {
        "deletion": ("lower", False),
        "pointing-game": ("higher", True),
        "gini": ("higher", False),
    }


def test_standings_follow_the_metrics_direction() -> None:
    rows = rows_of("deletion", "gini")
    found = {(entry["source"], entry["metric"]): entry for entry in summary(rows)["scores"]}
    assert [found[n, "deletion"]["rank"] for n in range(4)] == [1, 2, 3, None]
    assert [found[n, "gini"]["rank"] for n in range(4)] == [3, 2, 1, None]  # the control is larger still
    assert [found[n, "gini"]["best"] for n in range(4)] == [False, False, True, False]
    third, control = (np.delete(rows.column(f"sources/{n}/gini"), 7).astype(float) for n in (2, 3))
    assert found[3, "gini"]["effect"] == pytest.approx(signed_rank(control - third).effect)
    assert found[3, "gini"]["effect"] > 0 and found[3, "gini"]["worse"] is False


def test_undirected_metrics_have_no_best() -> None:
    columns = ["perturbation", "perturbation-linf", "perturbation-psnr", "perturbation-ssim"]
    sources = (source("pgd", role="images"), source("pgd", "b" * 64, role="images"))
    rows = rows_of("perturbation", sources=sources)
    for number in range(2):
        for name in columns:
            rows.columns[f"sources/{number}/{name}"] = np.arange(ROWS, dtype=np.float32)
    for entry in summary(rows)["scores"]:
        assert entry["better"] == "neither"
        assert {entry[name] for name in ("rank", "best", "p", "effect", "worse")} == {None}


def test_concordance_is_of_explainers_without_controls() -> None:
    rows = rows_of("deletion", "gini", "insertion")
    found = summary(rows)["concordance"]
    assert [entry.get("metric") for entry in found] == ["deletion", "gini", "insertion", None]
    table = np.stack([np.delete(rows.column(f"sources/{n}/gini"), 7) for n in range(3)], axis=1)
    assert found[1]["value"] == pytest.approx(kendall_w(table))
    assert (found[1]["raters"], found[1]["sources"], found[1]["statistic"]) == (49, [0, 1, 2], "kendall-w")
    # deletion prefers small scores, the others large ones: ranks 1 2 3, 3 2 1, 3 2 1 and 12 * 2 / 216
    assert found[3]["metrics"] == ["deletion", "gini", "insertion"]
    assert found[3]["value"] == pytest.approx(1 / 9)
    two = summary(rows_of("deletion", "gini"))["concordance"][-1]
    assert (two["statistic"], two["value"], two["raters"]) == ("tau-b", pytest.approx(-1), 2)


def test_a_metric_that_is_undefined_for_one_explainer_ranks_nobody_with_the_others() -> None:
    rows = rows_of("deletion", "gini", "insertion")
    rows.columns["sources/1/gini"][:] = np.nan
    found = summary(rows)
    assert next(e for e in found["scores"] if (e["source"], e["metric"]) == (1, "gini"))["rank"] is None
    assert [e.get("metric") or e["metrics"] for e in found["concordance"]] == [
        "deletion",
        "insertion",
        ["deletion", "insertion"],
    ]


def test_explainers_of_two_checkpoints_are_ranked_apart() -> None:
    other = tuple({**one, "checkpoint": "b" * 64} for one in SOURCES[:2])
    rows = rows_of("gini", sources=(*SOURCES, *other))
    ranks = [entry["rank"] for entry in summary(rows)["scores"]]
    assert ranks == [3, 2, 1, None, 2, 1]
    assert [entry["sources"] for entry in summary(rows)["concordance"]] == [[0, 1, 2], [4, 5]]
