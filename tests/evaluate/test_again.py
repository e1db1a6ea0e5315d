"""Explainers asked again: with the options of their stores, sharing their questions, and never more than planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, costs_of
from tests.nets import explain_answers, small_net, some_images
from xaicli import open_store
from xaicli.errors import UnavailableError
from xaicli.evaluate.again import Explainers, in_order
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.metric import name_metrics, planned_forwards
from xaicli.evaluate.sources import Source
from xaicli.explain.run import Explainer
from xaicli.files.artifact import identify
from xaicli.run.calls import Calls
from xaicli.specs import parse_spec

NET = small_net(side=12)
IMAGES = some_images(5, NET)
MAPS = torch.rand(5, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
CAMS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "gradcam-elementwise", "eigencam", "eigengradcam")


def explainers(*methods: str) -> tuple[Explainers, Subject]:
    answers = answers_of(NET, IMAGES, MAPS, again=methods)
    return answers.ask("explainers", {}), answers.ask("subject", {})


FAMILIES = (
    "random", "edges", "saliency", "smoothgrad:n=3", "guided-backprop", "integrated-gradients:steps=4", "guided-ig",
    "expected-gradients:samples=3", "deeplift", "lrp", "gradcam", "ablationcam", "eigencam", "fullgrad", "occlusion",
    "rise:masks=30", "lime:samples=30", "kernel-shap:segments=8,samples=30", "influence",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_of_the_images_themselves_are_the_same_bits(name: str) -> None:
    asked, subject = explainers(name)
    explained = Explainer(parse_spec("explain", name)).attribution(explain_answers(NET, IMAGES)).attribution
    assert torch.equal(in_order(asked.about(subject))[0], explained)


def test_all_explainers_of_an_image_share_its_questions() -> None:
    asked, subject = explainers(*CAMS, "saliency", "input-x-gradient", "random")
    apart = [in_order(explainers(method)[0].about(subject))[0] for method in CAMS]
    subject.calls.forwards = 0
    together = in_order(asked.about(subject))
    assert subject.calls.forwards == 5 * 2  # a pass to the layer, and one to the image
    assert all(torch.equal(one, other) for one, other in zip(apart, together, strict=False))
    metrics = name_metrics([parse_spec("evaluate", name) for name in ("sensitivity-max", "mprt:stages=2", "adcc")])
    costs = costs_of(NET, (*CAMS, "saliency", "input-x-gradient", "random"))
    # ten draws and two models for all, once; the image, the image through its map and what explains it for each
    assert planned_forwards(metrics, 8, 144, facts=costs) == 10 * 2 + 2 * 2 + 1 + 8 * (1 + 1)


def test_explainers_of_other_quantities_and_seeds_keep_theirs() -> None:
    asked, subject = explainers("saliency", "smoothgrad:n=2")
    first, second = asked.asked
    mixed = replace(asked, asked=[replace(first, quantity="probability"), replace(second, seed=7)])
    maps = in_order(mixed.about(subject))
    whole = explain_answers(NET, IMAGES, quantity="probability")
    assert torch.equal(maps[0], Explainer(parse_spec("explain", "saliency")).attribution(whole).attribution)
    seven = explain_answers(NET, IMAGES, seed=7)
    assert torch.equal(maps[1], Explainer(parse_spec("explain", "smoothgrad:n=2")).attribution(seven).attribution)


def test_maps_are_of_the_class_that_was_explained() -> None:
    answers = answers_of(NET, IMAGES, MAPS, target=torch.tensor([2, 1, 0, 1, 2]), again=("saliency",))
    (maps,) = in_order(answers.ask("explainers", {}).about(answers.ask("subject", {})))
    labels = torch.tensor([2, 1, 0, 1, 2])
    told = explain_answers(NET, IMAGES, target="label", labels=labels)
    assert torch.equal(maps, Explainer(parse_spec("explain", "saliency")).attribution(told).attribution)


def test_a_map_that_was_stored_in_halves_is_asked_for_in_halves() -> None:
    asked, subject = explainers("saliency")
    rounded = replace(asked, asked=[replace(asked.asked[0], half=True)])
    (maps,), (whole,) = in_order(rounded.about(subject)), in_order(asked.about(subject))
    assert torch.equal(maps, whole.half().double()) and not torch.equal(maps, whole)


METHODS = (
    "saliency", "smoothgrad:n=3", "integrated-gradients:steps=4", "expected-gradients:samples=3", "gradcam", "eigencam",
    "deeplift", "rise:masks=20", "lime:samples=20", "kernel-shap:segments=8,samples=20", "fullgrad",
)  # fmt: skip


def run(call: Any, *arguments: object) -> list[dict[str, Any]]:
    said = call(*arguments)
    assert said.code == 0, said.err
    return said.records


@pytest.fixture(scope="module")
def maps(files: Any, call: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of several methods of one checkpoint, for one class against another, and one in halves."""
    folder = tmp_path_factory.mktemp("maps")
    few = ("-n", "10", "--batch-size", "4", "--seed", "5")
    chosen = [part for method in METHODS for part in ("-m", method)]
    run(call, "explain", files.checkpoint, *chosen, *few, "-o", f"{folder}/")
    run(call, "explain", files.checkpoint, "-m", "ixg", *few, "--dtype", "float16", "-o", f"{folder}/half.h5")
    return folder


def test_stores_are_reproduced_bit_for_bit(maps: Path, call: Any, files: Any) -> None:
    stores = sorted(maps.iterdir())
    command = ["evaluate", files.checkpoint, *stores, "--batch-size", "4", "-k", "sensitivity-max:radius=1e-60,draws=1"]
    records = run(call, *command, "-o", maps.parent / "zero.h5")
    figures = {record["method"]: record["value"] for record in records if record["kind"] == "metric"}
    assert len(figures) == len(stores) + 2 and set(figures.values()) == {0.0}


def test_a_contrast_and_a_quantity_are_taken_over(files: Any, call: Any, tmp_path: Path) -> None:
    few = ("-n", "6", "--batch-size", "4")
    run(call, "explain", files.checkpoint, "-m", "saliency", *few, "--target", "3,5", "-o", tmp_path / "a.h5")
    run(call, "explain", files.checkpoint, "-m", "gradcam", *few, "--quantity", "margin", "-o", tmp_path / "b.h5")
    for name in ("a.h5", "b.h5"):
        command = (
            "evaluate",
            tmp_path / name,
            files.checkpoint,
            "--batch-size",
            "4",
            "-k",
            "sensitivity-max:radius=1e-60",
        )
        found = [record["value"] for record in run(call, *command, "-o", tmp_path / f"scores-{name}")[1:]]
        assert set(found) == {0.0}


def test_shards_merge_to_the_bytes_of_one_process(maps: Path, files: Any, call: Any, tmp_path: Path) -> None:
    stores = [maps / "half.h5", next(maps.glob("*.gradcam*")), next(maps.glob("*.saliency*"))]
    chosen = ("sensitivity-max", "mprt:stages=2", "random-logit", "adcc", "agreement")
    command = [
        "evaluate",
        files.checkpoint,
        *stores,
        "--block",
        "4",
        "--batch-size",
        "4",
        *(x for k in chosen for x in ("-k", k)),
    ]
    run(call, *command, "-o", tmp_path / "whole.h5")
    for number in (3, 1, 2):
        run(call, *command, "-o", tmp_path / "parts.h5", "--shard", f"{number}/3")
    run(call, "store", "merge", tmp_path / "parts.h5")
    assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_forwards_are_those_that_the_dry_run_shows(
    maps: Path, files: Any, call: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    stores = [next(maps.glob(f"*.{name}*")) for name in ("gradcam", "eigencam", "saliency")]
    chosen = ("sensitivity-max", "ros", "mprt:stages=3", "emprt", "smprt:n=2,stages=2", "random-logit", "adcc")
    command = [
        "evaluate",
        files.checkpoint,
        *stores,
        "--batch-size",
        "4",
        *(x for k in (*chosen, "agreement") for x in ("-k", k)),
    ]
    (planned,) = run(call, *command, "--dry-run")
    asked = []
    plain = Calls._asked
    monkeypatch.setattr(Calls, "_asked", lambda self, *ask: asked.append(ask[2]) or plain(self, *ask))
    run(call, *command, "-o", tmp_path / "counted.h5")
    # gradcam and saliency; eigencam only looks at activations, which gradcam's pass has
    ours = 10 * 2 + 11 + 3 * 2 + 2 * (1 + 2) * 2 + 2
    assert planned["forwards"] == 10 * (ours + 1 + 2 * (1 + 1) + (1 + 1) + 2 * 1)
    assert sum(asked) == planned["forwards"]


def test_an_explainer_is_judged_alike_whoever_is_beside_it(maps: Path, files: Any, call: Any, tmp_path: Path) -> None:
    stores = [next(maps.glob("*.gradcam*")), next(maps.glob("*.saliency*"))]
    chosen = ("-k", "sensitivity-avg", "-k", "mprt:stages=1", "-k", "emprt", "--batch-size", "4")
    run(call, "evaluate", files.checkpoint, *stores, *chosen, "-o", tmp_path / "both.h5")
    run(call, "evaluate", files.checkpoint, stores[1], *chosen, "-o", tmp_path / "alone.h5")
    both, alone = open_store(tmp_path / "both.h5"), open_store(tmp_path / "alone.h5")
    for name in ("sensitivity-avg", "mprt", "emprt"):
        assert np.array_equal(both.column(f"sources/1/{name}"), alone.column(f"sources/0/{name}"))


def test_what_cannot_be_asked_again_is_unavailable(maps: Path) -> None:
    artifact = identify(maps / "half.h5")

    def source(**changed: object) -> Source:
        job = {**artifact.job, **changed}
        return Source(str(job["method"]), job["options"], replace(artifact, job=job), artifact)

    assert source().is_known and source().asked("auto", 0).half
    for changed, words in (
        ({"verb": "import"}, "imported maps"),
        ({"method": "no-such-method"}, "not here"),
        ({"plugin": {"file": "mine.py", "sha256": "0" * 64}}, "not here"),
        ({"options": {"no-such-option": 1}}, "not here"),
    ):
        assert not source(**changed).is_known
        with pytest.raises(UnavailableError, match=words):
            source(**changed).asked("auto", 0)
