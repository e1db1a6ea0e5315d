"""What a page says of attacked images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.report.test_report import pictures
from xaicli.report.attacks import attack_facts, attack_picture

METRICS: dict[str, Any] = {
    "clean_accuracy": 0.9,
    "robust_accuracy": 0.25,
    "success_rate": None,
    "intervals": {"clean_accuracy": [0.8, 0.95], "robust_accuracy": [0.2, 0.301], "success_rate": None},
    "per_class": {
        "cat": {"n": 30, "clean_accuracy": 1.0, "robust_accuracy": 0.5, "interval": [0.4, 0.6]},
        "dog": {"n": 10, "clean_accuracy": 0.75, "robust_accuracy": 0.0, "interval": None},
    },
    "protocol": {"name": "autoattack standard linf", "official": True, "hash": "0123456789abcdef"},
    "broken_by": {"apgd-ce": 3, "square": 1},
    "security_curve": [
        {"eps": 0.1, "robust_accuracy": 0.5, "interval": [0.4, 0.6]},
        {"eps": 0.25, "robust_accuracy": 0.25, "interval": [0.2, 0.301]},
    ],
    "transfer": {"a" * 64: {"success_rate": 0.125, "interval": None}},
    "sanity": {
        "bounds": {"passed": True, "value": 0.0, "means": "No image leaves."},
        "scale": {"passed": False, "value": 0.91667, "means": "Nothing changes."},
        "noise": {"passed": None, "value": float("nan"), "means": "Noise is weaker."},
    },
}


def test_figures_and_verdicts_in_words() -> None:
    assert attack_facts(METRICS) == {
        "clean accuracy": "90.0 % (80.0 to 95.0)",
        "robust accuracy": "25.0 % (20.0 to 30.1)",
        "success rate": "none",
        "protocol": "autoattack standard linf (official), 0123456789abcdef",
        "rows broken by": "apgd-ce 3, square 1",
        "robust accuracy at 0.1": "50.0 % (40.0 to 60.0)",
        "robust accuracy at 0.25": "25.0 % (20.0 to 30.1)",
        "success rate on aaaaaaaaaaaa": "12.5 %",
        "sanity: bounds": "passed (0). No image leaves.",
        "sanity: scale": "FAILED (0.917). Nothing changes.",
        "sanity: noise": "not known (nan). Noise is weaker.",
    }


def test_figures_that_nobody_checked_say_so() -> None:
    facts = attack_facts({key: value for key, value in METRICS.items() if key != "sanity"})
    assert facts["sanity"] == "not asked for: attack again with --sanity before you trust these figures"


def area(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(2).sum())


def test_bars_are_as_high_as_the_accuracies() -> None:
    held, pale = (0x2A, 0x9D, 0x8F), (0xBF, 0xD8, 0xD2)
    classes = {"per_class": METRICS["per_class"]}
    picture = attack_picture(classes)
    assert picture is not None
    full = {**METRICS["per_class"]["cat"], "robust_accuracy": 1.0, "interval": None}
    one = attack_picture({"per_class": {"cat": full, "dog": METRICS["per_class"]["dog"]}})
    assert one is not None
    assert area(picture, held) / area(one, held) == pytest.approx(0.5, abs=0.03)
    assert area(picture, pale) > 0
    both = attack_picture(METRICS)
    assert both is not None and both.width > 1.5 * picture.width  # with the curve


def test_too_many_classes_are_not_drawn() -> None:
    many = {str(number): METRICS["per_class"]["cat"] for number in range(41)}
    assert attack_picture({"per_class": many}) is None
    assert attack_picture({}) is None


def test_the_page_of_attacked_images(call: Any, files: Any, here: Path) -> None:
    attacked = ("attack", files.checkpoint, "-a", "fgsm:eps=0.01,0.1", "-n", "12", "--sanity", "-o", "f.h5")
    made = call(*attacked)
    assert made.code == 0, made.err
    said = call("report", "f.h5", "--parent", files.checkpoint)
    assert said.code == 0, said.err
    text = Path("report.html").read_text()
    assert len(pictures(Path("report.html"))) == 1
    assert "sanity: bounds</th><td>passed" in text and "robust accuracy at 0.01" in text
    assert f"{100 * made.record['metrics']['robust_accuracy']:.1f} %" in text
