"""What pages say of metrics is what the code does."""

from __future__ import annotations

from typing import Any

import pytest

from xaicli.cli.metric_page import metric_page
from xaicli.evaluate.metric import name_metrics, used_quantity
from xaicli.evaluate.queries import EVALUATE
from xaicli.methods import describe, names
from xaicli.specs import parse_spec


@pytest.mark.parametrize("name", names("evaluate"))
def test_pages_are_true(name: str) -> None:
    """Read from the text of the code, they say what the loaded functions declare."""
    (metric,) = name_metrics([parse_spec("evaluate", name)])
    page = metric_page(metric.spec.method)
    assert page.better == metric.better(name)
    assert page.quantity == used_quantity(metric)
    assert page.baseline == metric.spec.options.get("baseline")
    assert {question.query for question in page.asks} == {
        need for need in metric.needs if hasattr(EVALUATE.functions.get(need), "forwards")
    }
    for question in page.asks:
        function = EVALUATE.functions[question.query]
        own = {"attribution", "signed", "explainer", "explainers", "other"} & {*EVALUATE.below(function)}
        assert question.shared == (not own)
        assert question.what == (function.__doc__ or "").splitlines()[0]
        if question.forwards.isdigit():
            assert int(question.forwards) == function.forwards
    assert any("mask" in need for need in page.needs) == ("mask" in metric.needs)


def test_the_page_of_deletion(call: Any) -> None:
    lines = call("methods", "evaluate", "deletion", terminal=True).out.splitlines()
    page = lines[lines.index("Better    lower") :]
    assert page[:3] == ["Better    lower", "Quantity  probability", "Baseline  black"]
    assert "  logits (once for all explainers, forwards a row: 1)" in page
    assert "  removal (for each explainer)" in page
    record = call("methods", "evaluate", "deletion").record
    assert (record["better"], record["baseline"]) == ("lower", "black")
    assert record["asks"][0] == {
        "query": "logits",
        "what": "Logits of the images, [n, K].",
        "forwards": "1",
        "shared": True,
    }


def test_a_metric_that_asks_nothing_says_so(call: Any) -> None:
    page = call("methods", "evaluate", "gini", terminal=True).out
    assert page.endswith("Better    higher\nIt asks nothing of the model.\n")
    assert call("methods", "attack", "pgd", terminal=True).out.count("Better") == 0
    assert "better" not in call("methods", "attack", "pgd").record


def test_no_page_needs_the_model_library(call: Any) -> None:
    """`describe` imports nothing, and pages are made of what it says."""
    assert metric_page(describe("evaluate", "deletion")).needs == ()
