"""What the shell offers while a method name is being typed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from xaicli.cli.completion import complete
from xaicli.methods import names


def test_every_name_with_its_summary() -> None:
    offered = complete("explain")("")
    assert [name for name, _ in offered] == names("explain")
    assert dict(offered)["gradcam"].startswith("Grad-CAM: ")


@pytest.mark.parametrize(
    ("verb", "typed", "offered"),
    [
        ("explain", "in", ["input-x-gradient", "integrated-gradients", "influence"]),
        ("attack", "g", ["gaussian-noise", "gn"]),
        ("attack", "x", []),
        ("attack", "pgd:st", ["pgd:step=", "pgd:steps="]),
        ("attack", "pgd:eps=1,re", ["pgd:eps=1,restarts="]),
        ("attack", "nosuch:e", []),
        ("train", "adversarial:norm", ["adversarial:norm="]),
        ("evaluate", "del", ["deletion"]),
        (
            "generate",
            "",
            ["class-images", "inversion", "feature-visualisation", "counterfactual"],
        ),
    ],
)
def test_names_and_options(verb: str, typed: str, offered: list[str]) -> None:
    assert [text for text, _ in complete(verb)(typed)] == offered


@pytest.mark.command
@pytest.mark.parametrize(
    ("shell", "words", "environment", "expected"),
    [
        ("bash", "xaicli explain m.safetensors -m gra", {"COMP_CWORD": "4"}, "gradcam"),
        ("zsh", "xaicli attack m.safetensors -a uni", {}, '"uniform-noise"'),
    ],
)
def test_the_shells_own_protocol(shell: str, words: str, environment: dict[str, str], expected: str) -> None:
    variables = {"_XAICLI_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "_TYPER_COMPLETE_ARGS": words}
    code = "import sys; sys.argv[0] = 'xaicli'; from xaicli.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables, **environment}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout


def test_a_completion_in_this_process_ends_quietly(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_XAICLI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "xaicli evaluate x -k average")
    monkeypatch.setenv("COMP_CWORD", "4")
    said = call()
    assert (said.code, said.err) == (0, "")
    assert said.out.split() == ["average-drop", "average-gain"]
