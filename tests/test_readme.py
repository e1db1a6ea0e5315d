"""The README says what the code says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from xaicli import errors
from xaicli.methods import NOUNS, describe, names
from xaicli.signatures import show

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def between(marker: str) -> str:
    return README.split(f"<!-- {marker} -->\n")[1].split(f"<!-- /{marker} -->")[0]


def methods_table() -> str:
    lines = ["| verb | method | options and defaults | what |", "|---|---|---|---|"]
    for verb in NOUNS:
        for name in names(verb):
            method = describe(verb, name)
            shown = ", ".join(f"`{option.key}={show(option.default)}`" for option in method.options)
            also = f" ({', '.join(method.aliases)})" if method.aliases else ""
            lines.append(f"| {verb} | `{name}`{also} | {shown} | {method.summary.rstrip('.')} |")
    return "\n".join(lines) + "\n"


def test_methods_table_is_the_registry() -> None:
    assert between("methods") == methods_table(), methods_table()


def test_exit_codes_are_those_of_the_errors() -> None:
    table = README.split("## Exit codes")[1].split("\n## ")[0]
    documented = {int(code) for cell in re.findall(r"^\| ([\d /]+) \|", table, re.M) for code in cell.split("/")}
    raised = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.XaicliError)
    }
    assert raised <= documented
    assert documented - raised == {0, 3, 130, 141, 143}


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.S)
    return [part.strip() for block in blocks for line in block.splitlines() for part in re.split(r"[|&]+", line)]


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("xaicli ")])
def test_commands_are_understood(line: str) -> None:
    """Every option of every command in the README exists (the command itself is not run)."""
    import typer

    from xaicli.cli.main import build_app

    command = typer.main.get_command(build_app())
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    context = command.make_context(line, list(words), resilient_parsing=True)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-") and word != "-"} <= known
    assert context.params
