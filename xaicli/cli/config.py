"""--config FILE.toml: the top level sets common options, a table per verb its own; keys are long option names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import typer

from xaicli.errors import InputError, MissingError, UsageError, nearest


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the command's defaults: flags and environment still win."""
    if path is None:
        return None
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingError(f"--config '{path}' cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config '{path}' is not valid TOML: {error}.") from None
    top = {key: value for key, value in document.items() if not isinstance(value, dict)}
    verbs = {key: value for key, value in document.items() if isinstance(value, dict)}
    commands = _commands(context)
    for verb in verbs:
        if verb not in commands:
            raise UsageError(
                f"--config '{path}' has a table for '{verb}', which is no command.{nearest(verb, commands)}"
            )
    known = _options(context.command)
    everywhere = {option for command in commands.values() for option in _options(command)}
    values: dict[str, Any] = {}
    for key, value in {**top, **verbs.get(str(context.info_name), {})}.items():
        if key not in known and key in top and key in everywhere:
            continue  # a common option that this command does not have
        if key not in known:
            raise UsageError(f"--config '{path}' sets '{key}', which is no option here.{nearest(key, known)}")
        values[known[key]] = value
    context.default_map = {**(context.default_map or {}), **values}
    return path


def _commands(context: typer.Context) -> dict[str, Any]:
    root = context.find_root().command
    return dict(getattr(root, "commands", {}))


def _options(command: Any) -> dict[str, str]:
    """Long option names of a command and the parameters they set."""
    return {
        name.removeprefix("--"): str(parameter.name)
        for parameter in command.params
        for name in parameter.opts
        if name.startswith("--")
    }
