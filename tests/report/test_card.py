"""The report card of generated images on a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Files, Said


def test_figures_stand_in_a_table_with_what_they_are_compared_with(
    files: Files, call: Callable[..., Said], here: Path
) -> None:
    made = call("generate", files.checkpoint, "-g", "class-images:steps=2", "--per-class", "2", "-o", "made.h5")
    assert made.code == 0, made.err
    said = call("evaluate", "made.h5", files.checkpoint, "-o", "scores.h5")
    assert said.code == 0, said.err
    found = {record["metric"]: record for record in said.records if record["kind"] == "metric"}
    shown = call("report", "scores.h5", files.checkpoint, "-o", "page.html")
    assert shown.code == 0, shown.err
    text = Path("page.html").read_text()
    lines = dict(re.findall(r"<tr><th>([^<]*)</th><td>([^<]*)</td></tr>", text[text.index('<table class="card">') :]))
    right = found["target-accuracy"]
    expected = f"{100 * right['value']:.1f} % ({100 * right['low']:.1f} % to {100 * right['high']:.1f} %)"
    assert lines["target-accuracy ↑"] == expected
    distance, floor = found["frechet-distance"], found["frechet-distance-floor"]
    doubt = ", unreliable" if distance["details"]["unreliable"] else ""
    assert lines["FD(m) ↓"] == f"{distance['value']:.4g} (floor {floor['value']:.4g}{doubt})"
    near, real, begun = (found[f"nearest-training-image-input{part}"]["value"] for part in ("", "-ceiling", "-floor"))
    assert lines["nearest-training-image-input"].startswith(f"{near:.4g} (")
    assert lines["nearest-training-image-input"].endswith(f"ceiling {real:.4g}, floor {begun:.4g})")
    assert not any(name.endswith(("-floor", "-ceiling")) for name in lines)


def test_other_scores_have_no_card(files: Files, call: Callable[..., Said], here: Path) -> None:
    assert call("report", files.scores, "-o", "page.html").code == 0
    assert '<table class="card">' not in Path("page.html").read_text()
