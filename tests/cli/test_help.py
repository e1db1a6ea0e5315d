"""Help, version and worked examples."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer

from xaicli import __version__
from xaicli.cli.main import build_app
from xaicli.models.arch import parse_arch
from xaicli.specs import parse_spec

MODULES = ("train", "attack", "explain", "evaluate", "generate", "report", "import_", "store", "methods", "demo")
PLAIN = ["train", "attack", "explain", "evaluate", "generate", "report", "import", "methods", "demo"]
COMMANDS = [*PLAIN, "store info", "store verify", "store diff"]


def examples() -> Iterator[str]:
    """Every xaicli command in every worked example; a pipe has several."""
    for name in MODULES:
        module = import_module(f"xaicli.cli.{name}")
        for texts in (value for key, value in vars(module).items() if key.startswith("EXAMPLES")):
            for line in texts.strip().splitlines():
                commands = [part.strip() for part in re.split(r"\|\|?", line)]
                yield from (command for command in commands if command.startswith("xaicli "))


EXAMPLES = sorted(set(examples()))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_worked_examples(command: str, call: Any) -> None:
    said = call(*command.split(), "-h" if " " in command else "--help")
    assert (said.code, said.err) == (0, "")
    usage, _, end = said.out.partition("Examples:")
    assert f"Usage: xaicli {command}" in usage
    assert f"$ xaicli {command}" in end
    assert "╯" not in end, "nothing comes after them"


def test_there_are_examples_for_every_command() -> None:
    assert len(EXAMPLES) > 30
    for command in COMMANDS:
        assert any(example.startswith(f"xaicli {command}") for example in EXAMPLES), command


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_parses(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments are read by the real parser, and every specification in them by the grammar of methods."""
    group: Any = typer.main.get_command(build_app())
    seen: list[dict[str, Any]] = []
    inner = group.commands.pop("store")
    for command in [*group.commands.values(), *inner.commands.values()]:
        command.callback = lambda **values: seen.append(values)
    group.commands["store"] = inner
    arguments = shlex.split(example)[1:]
    group.main(args=arguments, prog_name="xaicli", standalone_mode=False)
    (values,) = seen
    for verb, option in (
        ("attack", "attack"),
        ("explain", "method"),
        ("evaluate", "metric"),
        ("generate", "generator"),
    ):
        if arguments[0] == verb:
            for text in values[option] or ():
                if (verb, text) != ("evaluate", "all"):
                    parse_spec(verb, text)
    if arguments[0] == "train":
        parse_spec("train", values["recipe"])
        parse_arch(values["arch"] or "cnn")


def test_version(call: Any) -> None:
    said = call("--version")
    assert (said.code, said.out, said.err) == (0, f"xaicli {__version__}\n", "")


def test_the_first_help_lists_every_command_and_where_to_start(call: Any) -> None:
    out = call("--help").out
    for command in [*PLAIN, "store"]:
        assert re.search(rf"^│ {command} ", out, re.MULTILINE), command
    assert "The five verbs" in out
    assert out.rstrip().endswith("Start with: xaicli demo")


COMMON = ["output", "limit", "per-class", "seed", "device", "threads", "batch-size", "block", "data-root", "parent"]
SHOWING = ["force", "dry-run", "config", "format", "quiet", "verbose", "no-color"]


def test_the_common_options_are_in_the_help_of_every_verb(call: Any) -> None:
    for verb in ("train", "attack", "explain", "evaluate", "generate"):
        common = call(verb, "--help").out.partition("Common options")[2]
        missing = [option for option in COMMON + SHOWING if f"--{option}" not in common]
        assert missing == [], verb
