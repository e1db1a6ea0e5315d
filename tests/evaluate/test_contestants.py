"""What a run's sources are called and which are compared."""

from __future__ import annotations

from typing import Any

import pytest

from xaicli.evaluate.contestants import CONTROLS, contestants
from xaicli.methods import TABLE, describe


def source(method: str, checkpoint: str = "a" * 64, *, role: str = "", **options: Any) -> dict[str, Any]:
    parents = {"checkpoint": {"id": checkpoint}} | ({role: {"id": "0" * 64}} if role else {})
    return {"method": method, "options": options, "checkpoint": checkpoint, "parents": parents}


def described(*sources: dict[str, Any], paths: dict[str, str] | None = None) -> list[tuple[str, int, bool]]:
    parents = [
        {"checkpoint": {"id": one["checkpoint"], **({"path": paths[one["checkpoint"]]} if paths else {})}}
        for one in sources
    ]
    found = contestants(sources, parents)
    assert [one.number for one in found] == list(range(len(sources)))
    return [(one.name, one.group, one.control) for one in found]


def test_controls_are_the_explainers_that_call_themselves_so() -> None:
    assert {name for name in TABLE["explain"] if "the control that" in describe("explain", name).summary} == CONTROLS


def test_explainers_of_two_checkpoints_are_two_comparisons() -> None:
    maps = {"role": "attributions"}
    assert described(
        source("gradcam", **maps), source("gradcam", "b" * 64, **maps), source("random"), source("edges")
    ) == [
        ("gradcam", 0, False),
        ("gradcam", 1, False),
        ("random", 0, True),
        ("edges", 0, True),
    ]


def test_a_method_given_twice_is_named_with_what_differs() -> None:
    given = [
        source("integrated-gradients", role="attributions", steps=8, baseline="black"),
        source("integrated-gradients", role="attributions", steps=16, baseline="black"),
        source("lime", role="attributions", shares=[0.5, 1]),
        source("lime", role="attributions", shares=[0.25, 1]),
        source("gradcam", role="attributions", relu=True),
        source("gradcam", role="attributions", relu=True),
    ]
    assert [name for name, _, _ in described(*given)] == [
        "integrated-gradients:steps=8",
        "integrated-gradients:steps=16",
        "lime:shares=0.5,1",
        "lime:shares=0.25,1",
        "gradcam (1)",
        "gradcam (2)",
    ]


def test_models_are_compared_on_the_same_images() -> None:
    paths = {"a" * 64: "here/standard.safetensors", "b" * 64: "robust.safetensors"}
    both = [source("standard"), source("adversarial", "b" * 64)]
    assert described(*both) == [("standard", 0, False), ("adversarial", 0, False)]
    assert described(*both, paths=paths) == [("standard", 0, False), ("robust", 0, False)]
    attacked = [
        source("pgd", role="images", eps=0.1),
        source("pgd", "b" * 64, role="images", eps=0.1),
        source("pgd", role="images", eps=0.2),
        source("worst-case"),
    ]
    assert described(*attacked, paths=paths) == [
        ("standard: pgd:eps=0.1", 0, False),
        ("robust: pgd:eps=0.1", 0, False),
        ("standard: pgd:eps=0.2", 1, False),
        ("standard: worst-case", 2, False),
    ]
    assert [name for name, _, _ in described(attacked[0], attacked[2])] == ["pgd:eps=0.1", "pgd:eps=0.2"]


@pytest.mark.parametrize("method", sorted(CONTROLS))
def test_a_control_is_one_even_when_it_was_explained_and_given(method: str) -> None:
    assert described(source(method, role="attributions"))[0][2]
