"""--config FILE.toml: the top level sets common options, a table per verb its own; keys are long option names."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from xaicli.errors import InputError, MissingError, UsageError, nearest

Options = dict[str, Any]  # long option name -> typer's parameter


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the command's defaults: flags and environment still win."""
    if path is None:
        return None
    document = _read(path)
    commands = dict(context.find_root().command.commands)  # type: ignore[attr-defined]
    everywhere = {name: _all_options(command) for name, command in commands.items()}
    common: Options = {key: value for options in everywhere.values() for key, value in options.items()}
    values: Options = {}
    for key, value in document.items():
        if not isinstance(value, Mapping):
            _check_known(path, key, common)
            values[key] = value
    for verb, table in document.items():
        if isinstance(table, Mapping):
            if verb not in commands:
                hint = nearest(verb, commands)
                raise UsageError(f"--config '{path}' has a table for '{verb}', which is no command.{hint}")
            for key in table:
                _check_known(path, f"{verb}.{key}", everywhere[verb])
    values.update(document.get(_verb(context), {}))
    here = options_by_name(context.command)
    defaults = {str(here[key].name): _as_typed(here[key], value) for key, value in values.items() if key in here}
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingError(f"--config '{path}' cannot be read: {error.strerror}; check the path.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"--config '{path}' is not valid TOML: {error}.") from None


def _check_known(path: Path, key: str, known: Iterable[str]) -> None:
    name = key.rpartition(".")[2]
    if name not in known:
        raise UsageError(f"--config '{path}' sets '{key}', which is no option here.{nearest(name, known)}")


def _verb(context: typer.Context) -> str:
    """The command's table: for `store info` it is that of `store`."""
    here: Any = context
    while here.parent is not None and here.parent.parent is not None:
        here = here.parent
    return str(here.info_name)


def _all_options(command: Any) -> Options:
    """The options of a command, or of all commands in a group."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return options_by_name(command)
    return {key: value for one in inner.values() for key, value in options_by_name(one).items()}


def options_by_name(command: Any) -> Options:
    """A command's parameters by their long names, without what every command takes."""
    return {
        name.removeprefix("--"): parameter
        for parameter in command.params
        for name in parameter.opts
        if name.startswith("--") and name not in ("--config", "--help")
    }


def _as_typed(parameter: Any, value: Any) -> Any:
    """A value as the command line would have it: a flag true or false, anything else text."""
    if parameter.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"--config gives {parameter.opts[-1]} the value {value!r}; write true or false.")
        return value
    if parameter.multiple:
        return [_as_text(parameter, item) for item in (value if isinstance(value, list) else [value])]
    return _as_text(parameter, value)


def _as_text(parameter: Any, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or "\0" in str(value):
        raise UsageError(f"--config gives {parameter.opts[-1]} the value {value!r}; write text or a number.")
    return str(value)
