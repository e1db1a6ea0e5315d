"""`xaicli methods`: records, pages, and that nothing heavy is imported for them."""

from __future__ import annotations

from typing import Any

from xaicli.methods import TABLE, describe


def test_one_record_per_method(call: Any) -> None:
    said = call("methods")
    assert said.code == 0
    assert [(r["verb"], r["name"]) for r in said.records] == [(verb, name) for verb in TABLE for name in TABLE[verb]]
    assert {r["kind"] for r in said.records} == {"method"}


def test_the_methods_of_one_verb(call: Any) -> None:
    records = call("methods", "explain").records
    assert [r["name"] for r in records] == list(TABLE["explain"])
    (ig,) = (r for r in records if r["name"] == "integrated-gradients")
    method = describe("explain", "ig")
    assert ig["aliases"] == ["ig"]
    assert ig["summary"] == method.summary
    assert list(ig["options"]) == [option.key for option in method.options]
    assert "description" not in ig


def test_one_method_whole(call: Any) -> None:
    record = call("methods", "explain", "ig").record
    assert record["name"] == "integrated-gradients"
    assert record["types"]["steps"] == "whole number > 0"
    assert record["description"] == describe("explain", "ig").description


def test_a_page_for_a_person(call: Any) -> None:
    for said in (
        call("methods", "attack", "pgd", "--format", "table"),
        call("methods", "attack", "pgd", terminal=True),
    ):
        lines = said.out.splitlines()
        assert lines[0] == "attack pgd"
        assert lines[2] == describe("attack", "pgd").summary
        assert "Options, written pgd:name=value,..." in lines
        assert "  norm          linf|l2|l1, default linf" in lines
        assert "  eps           number >= 0,..., default auto" in lines
    assert "It has no options." in call("methods", "explain", "saliency", terminal=True).out
    assert call("methods", "explain", "ig", terminal=True).out.startswith("explain integrated-gradients (also ig)")


def test_what_uncertain_checkpoints_add_is_said_of_attacks_and_explainers_alone(call: Any) -> None:
    for verb, name, said in (
        ("explain", "gradcam", True),
        ("attack", "pgd", True),
        ("attack", "gaussian-noise", False),
    ):
        assert ("also takes draws=N" in call("methods", verb, name, terminal=True).out) == said
        assert ("draws" in call("methods", verb, name).record) == said


def test_what_all_detectors_take_is_said_on_their_pages(call: Any) -> None:
    out = call("methods", "detector", "rmd", terminal=True).out
    assert out.startswith("detector relative-mahalanobis (also rmd)") and "It also takes tpr=SHARE" in out
    assert "0.95 unless given" in call("methods", "detector", "knn").record["tpr"]
    assert "tpr" not in call("methods", "attack", "pgd").record


def test_on_a_terminal_the_list_is_a_table(call: Any) -> None:
    out = call("methods", "attack", terminal=True).out
    assert "───" in out
    assert "pgd" in out
    assert "{" not in out
