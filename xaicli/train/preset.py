"""Presets: whole training commands that ship with the package, by name; a line in each says what its source reports."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from xaicli.errors import UsageError, nearest

_FOLDER = files("xaicli.train") / "presets"


@dataclass(frozen=True)
class Preset:
    """Options of `xaicli train` by their long names, as text, and one line about them."""

    name: str
    about: str
    options: dict[str, str]


@cache
def preset_names() -> tuple[str, ...]:
    """All of them, sorted."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))
    )


def load_preset(name: str) -> Preset:
    """Read one; UsageError names the nearest spelling."""
    known = preset_names()
    if name not in known:
        raise UsageError(f"there is no preset '{name}'.{nearest(name, known)} There are: {', '.join(known)}.")
    options = tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return Preset(name, str(options.pop("about")), {key: str(value) for key, value in options.items()})
