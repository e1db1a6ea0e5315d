"""Mistakes on the command line: exit code 2 (or the code of what is missing) and one sentence, before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("nosuch", 2, "no such command 'nosuch'."),
        ("atack", 2, "no such command 'atack'. Did you mean 'attack'?"),
        ("train", 2, "missing option '--data'."),
        ("train --data digits --epoch 3", 2, "no such option: --epoch (Possible options: --arch, --epochs)."),
        ("train --data digits --epochs many", 2, "invalid value for '--epochs'"),
        ("train --data digits --epochs 0", 2, "invalid value for '--epochs'"),
        ("train --data digits --seed", 2, "option '--seed' requires an argument."),
        ("train --data digits --recipe standart", 2, "there is no recipe 'standart'. Did you mean 'standard'?"),
        (
            "train --data digits --recipe standard:lr=fast",
            2,
            "'standard:lr=fast' is not valid: 'fast' is not a number.",
        ),
        ("train --data digits --input 32x32", 2, "--input '32x32' is not a shape; write channels x height x width"),
        ("train --data digits --input 1x0x32", 2, "--input '1x0x32' is not a shape"),
        ("train --data digits --format xml", 2, "--format 'xml' is unknown. Use auto|table|json."),
        ("train --data digits -n 5", 2, "train uses all of its data; leave --limit and --per-class out."),
        (
            "train --data digits --recipe private --batch-size 1300",
            2,
            "a batch of 1300 cannot be drawn from 1293 training images; take a --batch-size of at most that.",
        ),
        ("train --data digits --from m.safetensors", 66, "'m.safetensors' does not exist; check the path."),
        ("attack m.safetensors", 2, "missing option '-a' / '--attack'."),
        ("attack -a pgd", 2, "missing argument 'SOURCE...'."),
        ("attack m.safetensors -a pgd", 66, "'m.safetensors' does not exist; check the path."),
        ("attack m.safetensors -a pgd -a pgd:steps=20", 2, "the same attack with the same options is given twice"),
        ("explain m.safetensors -m ig -m integrated-gradients", 2, "the same method with the same options is given"),
        ("train --data digits --block three", 2, "--block 'three' is not a number; use auto or a power of two."),
        ("explain - - -m ig", 2, "'-' stands for standard input and can be given once."),
        ("evaluate m.h5 -k deletoin", 2, "there is no metric 'deletoin'. Did you mean 'deletion'?"),
        (
            "generate m.safetensors -g class-image",
            2,
            "there is no generator 'class-image'. Did you mean 'class-images'?",
        ),
        ("generate m.safetensors -g class-images --png -o -", 2, "--png writes beside the store"),
        ("methods expain", 2, "'expain' is no verb with methods. Did you mean 'explain'?"),
        ("methods explain nosuch", 2, "there is no method 'nosuch'."),
        ("store info", 2, "missing argument 'FILE...'."),
        ("store info nosuch.h5", 66, "'nosuch.h5' does not exist; check the path."),
        ("store diff a.h5 b.h5 --tolerance nan", 2, "--tolerance is not a number"),
        ("store diff a.h5 b.h5 --tolerance -1", 2, "invalid value for '--tolerance'"),
        ("import w.pt --arch cnn --mean .5,x", 2, "--mean '.5,x' is not a list of numbers: 'x' is not a number."),
        ("import w.pt", 2, "missing option '--arch'."),
    ],
)
def test_one_sentence_and_the_code(command: str, code: int, sentence: str, call: Any, here: Path) -> None:
    said = call(*command.split())
    assert said.code == code
    assert said.err.startswith(f"xaicli: {sentence}")
    assert said.err.rstrip("\n").endswith((".", "?"))
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--format", "json"), ("--format=json",)])
def test_with_format_json_the_error_is_a_record_too(arguments: tuple[str, ...], call: Any, here: Path) -> None:
    for command, code in (("store info nosuch.h5", 66), ("store nosuch", 2)):
        said = call(*command.split(), *arguments)
        sentence, record = said.err.splitlines()
        assert json.loads(record) == {
            "xaicli": 1,
            "kind": "error",
            "code": code,
            "message": sentence.removeprefix("xaicli: "),
        }
        assert said.code == code


def test_the_environment_can_ask_for_the_error_record(call: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAICLI_FORMAT", "json")
    assert json.loads(call("train").err.splitlines()[1])["code"] == 2


def test_without_a_command_the_help_and_a_sentence(call: Any) -> None:
    for command in ((), ("store",)):
        said = call(*command)
        assert said.code == 2
        assert "Usage: xaicli" in said.out
        assert said.err == "xaicli: no command was named; choose one of these.\n"


def test_verbose_shows_where_an_error_came_from(call: Any, here: Path) -> None:
    said = call("store", "info", "nosuch.h5", "-qv")
    assert said.code == 66
    assert said.err.startswith("Traceback")
    assert said.err.endswith("xaicli: 'nosuch.h5' does not exist; check the path.\n")


def test_a_bug_is_code_1_with_a_traceback(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(verb: str) -> list[str]:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr("xaicli.cli.methods.names", break_down)
    said = call("methods")
    assert said.code == 1
    assert said.err.startswith("Traceback")
    assert said.err.splitlines()[-1] == (
        "xaicli: this is a bug in xaicli (ZeroDivisionError: by design); please report it with the lines above."
    )


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyboardInterrupt(), 130, "interrupted."),
        (MemoryError(), 69, "out of memory; use a machine with more, or fewer rows."),
        (PermissionError(13, "Permission denied", "x"), 74, "reading or writing of 'x' failed: Permission denied; "),
        (BrokenPipeError(32, "Broken pipe"), 141, None),
    ],
)
def test_what_python_and_the_system_raise(
    error: BaseException, code: int, sentence: str | None, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(verb: str) -> list[str]:
        raise error

    monkeypatch.setattr("xaicli.cli.methods.names", fail)
    said = call("methods")
    assert said.code == code
    assert said.err.startswith(f"xaicli: {sentence}") if sentence else said.err == ""
