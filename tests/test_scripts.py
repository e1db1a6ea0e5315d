"""The README's shell scripts at a small size: what they print is what their records say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.command,
    pytest.mark.skipif(shutil.which("jq") is None, reason="the scripts print with jq"),
]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[list[str]]]:
    def run(name: str, *arguments: str) -> list[list[str]]:
        """The lines of a script's tables, in cells; it works in the test's folder."""
        (block,) = [block for block in README.split("```sh\n") if f"sh {name} [" in block.split("```")[0]]
        (tmp_path / name).write_text(block.split("```")[0], encoding="utf-8")
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", name, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PATH": paths, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]

    return run


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _is_of(record: dict[str, Any], model: str) -> bool:
    own = record["kind"] == "metric" and record["method"] != "worst-case"
    return own and Path(record["parents"]["checkpoint"]["path"]).stem == model


def test_a_standard_and_two_robust_models(run: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    head, *rows = run("table.sh", "digits", "1", "1.0", "0.1", "1")
    assert head == ["model", "clean", "l2 1.0", "linf 0.1"]
    found = records(tmp_path / "table" / "scores.jsonl")
    clean = {one["name"]: one["value"] for one in found if (one["kind"], one.get("metric")) == ("metric", "accuracy")}
    assert {name: float(clean_of) for name, clean_of, _, _ in rows} == pytest.approx(
        {name: 100 * value for name, value in clean.items()}, abs=0.051
    )
    assert set(clean) == {"standard", "l2-robust", "linf-robust"}
    for name, _, *under_attack in rows:  # l2 before linf, as in the command
        held = [one["value"] for one in found if one.get("metric") == "robust-accuracy" and _is_of(one, name)]
        assert [float(value) for value in under_attack] == pytest.approx([100 * value for value in held], abs=0.051)
        assert len(held) == 2


def test_accuracy_against_epsilon(run: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    rows = run("budgets.sh", "digits", "2", "128", "1", "0", "1 8")
    found = records(tmp_path / "budgets" / "models.jsonl")
    accuracies = {str(one["options"].get("epsilon") or "without"): one["metrics"]["test_accuracy"] for one in found}
    assert {name: float(value) for name, value in rows} == pytest.approx(
        {name.removesuffix(".0"): 100 * value for name, value in accuracies.items()}, abs=0.051
    )
    assert len(rows) == 3
    assert (tmp_path / "budgets" / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "Accuracy against epsilon" in (tmp_path / "budgets" / "page.html").read_text()


def test_what_privacy_does_to_explanations(run: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    *models, gradcam, layercam, saliency = run("private.sh", "digits", "2", "128", "8")
    found = records(tmp_path / "private" / "models.jsonl")
    assert [float(model[1]) for model in models] == [one["metrics"]["test_accuracy"] for one in found]
    assert [row[:2] for row in (gradcam, layercam, saliency)] == [
        [method, "private/epsilon-8.safetensors"] for method in ("gradcam", "layercam", "saliency")
    ]
    for _, _, value, low, high in (gradcam, layercam, saliency):
        assert -1 <= float(low) <= float(value) <= float(high) < 1
    assert (tmp_path / "private" / "maps.png").read_bytes().startswith(b"\x89PNG")


def test_open_sets_over_splits(run: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    rows = run("splits.sh", "digits", "7-of-10", "1", "0 1")
    alone = [one for one in records(tmp_path / "splits" / "scores.jsonl") if "splits" not in one]
    for metric, detector, value, low, high in rows:
        own = [one["value"] for one in alone if (one.get("metric"), one.get("detector", "")) == (metric, detector)]
        assert len(own) == 2 and float(value) == pytest.approx(sum(own) / 2, abs=6e-5)
        assert float(low) <= float(value) <= float(high)
    names = {metric for metric, *_ in rows}
    assert {"open-set-closed-accuracy", "open-set-balanced-accuracy@left-out", "clustering"} <= names
    assert len([row for row in rows if row[0] == "open-set-auroc@left-out"]) >= 11  # openmax needs every class
    page = (tmp_path / "splits" / "page.html").read_text()
    assert page.count(": detectors</h2>") == 2 and page.count(": clustering</h2>") == 2


def test_a_network_that_refuses_what_it_does_not_know(run: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    (tmp_path / "other" / "waves").mkdir(parents=True)
    phases = np.add.outer(np.arange(32), np.arange(32))
    for number in range(40):
        wave = np.sin(phases * (number + 1) / 40) * 127 + 128
        Image.fromarray(wave.astype(np.uint8)).save(tmp_path / "other" / "waves" / f"{number}.png")
    rows = run("doubt.sh", "digits", "2", "folder:other:train")
    found = {one["metric"]: one for one in records(tmp_path / "doubt" / "scores.jsonl") if one["kind"] == "metric"}
    names = [name for name, *_ in rows]
    assert names[:3] == ["selective-forced-accuracy", "selective-coverage", "selective-accuracy"]
    assert len(names) == 5 and all("unknown-refused@" in name for name in names[3:])
    for name, *values in rows:
        one = found[name]
        expected = [100 * one[key] for key in ("value", "low", "high")]
        assert [float(value) for value in values] == pytest.approx(expected, abs=0.051)
    assert (tmp_path / "doubt" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_card_of_a_standard_and_a_robust_model(run: Callable[..., list[list[str]]], tmp_path: Path) -> None:
    head, *rows = run("card.sh", "digits", "1", "1", "1", "2")
    assert head == ["generator", "figure", "standard", "robust"]
    names = ["class-images", "class-images-objective-cross-entropy-start-noise", "inversion"]
    found = {
        (name, one["metric"], one["name"].partition(":")[0]): one["value"]
        for name in names
        for one in records(tmp_path / "card" / f"{name}.jsonl")
        if one["kind"] == "metric"
    }
    for generator, figure, *values in rows:
        name = generator.translate(str.maketrans(":,=", "---"))
        for model, value in zip(("standard", "robust"), values, strict=True):
            expected = found[name, figure, model]
            assert value == "" if expected is None else float(value) == pytest.approx(expected, abs=0.00051)
    assert {row[1] for row in rows} >= {"judge-accuracy", "frechet-distance", "diversity", "perceptual-distance"}
    assert len(rows) * 2 == len(found)
    sheets = sorted((tmp_path / "card").glob("*/*.png"))
    assert len(sheets) >= 6 and all(sheet.read_bytes().startswith(b"\x89PNG") for sheet in sheets)
    assert "FD(judge)" in (tmp_path / "card" / "page.html").read_text()
