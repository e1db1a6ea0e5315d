"""A user's own architecture, FILE.py:FACTORY: when its code may run, and reading it.

The file's bytes are read once; what was hashed and checked is what is compiled. It is imported alone, without its
folder on the import path: it may import installed packages, not its neighbours, because only its bytes are vouched for.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from xaicli.errors import MissingError, PluginError, RefusedError, UsageError, nearest

_FIXED = ("num_classes", "channels")
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Factory:
    """A function or class of a user's file, imported. `path` is absolute, `sha256` that of the file's bytes."""

    path: Path
    name: str
    sha256: str
    function: Callable[..., Any] = field(compare=False, repr=False)

    def parameters(self) -> tuple[dict[str, inspect.Parameter], bool]:
        """The parameters that can be set by name, less num_classes and channels, and whether any name is accepted."""
        try:
            found = inspect.signature(self.function).parameters
        except (TypeError, ValueError) as error:
            raise PluginError(f"the factory '{self.name}' of {self.path} has no readable signature: {error}.") from None
        named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        settable = {name: p for name, p in found.items() if p.kind in named}
        anything = any(p.kind is p.VAR_KEYWORD for p in found.values())
        if not anything and not settable.keys() >= set(_FIXED):
            raise PluginError(f"the factory '{self.name}' of {self.path} must accept {' and '.join(_FIXED)} by name.")
        return {name: p for name, p in settable.items() if name not in _FIXED}, anything


def read_factory(path: Path, name: str) -> Factory:
    """Import FACTORY from a file that the user named in this command, and so trusts."""
    path = path.absolute()
    source, _ = _read(path)
    return _import(path, name, source)


def recorded_factory(record: Mapping[str, Any], what: str, given: tuple[Path, str] | None) -> Factory:
    """The factory that a checkpoint names by path and sha256; RefusedError unless its code may be run.

    It may when the user named the same file in this command (`given`: path and name), or when the recorded path still
    has that sha256, belongs to the user or root, and neither the file nor its folder lets others replace it.
    """
    name, sha256, path = str(record["name"]).rpartition(":")[2], str(record["sha256"]), Path(str(record["file"]))
    if given is not None:
        copy, given_name = given
        source, _ = _read(copy.absolute())
        found = hashlib.sha256(source).hexdigest()
        if found != sha256 or given_name != name:
            raise RefusedError(
                f"{what} was made with '{record['name']}' of sha256 {sha256[:12]}, but --arch gives "
                f"'{copy.name}:{given_name}' of sha256 {found[:12]}; name an unchanged copy of the original file."
            )
        return _import(copy.absolute(), name, source)
    way_out = f"name a copy that you trust with --arch FILE.py:{name}"
    if not path.is_absolute():
        raise RefusedError(f"{what} names its architecture's file without an absolute path; {way_out}.")
    try:
        source, status = _read(path)
    except MissingError:
        raise RefusedError(
            f"{what} needs the architecture in '{path}', which cannot be read here; {way_out}."
        ) from None
    if hashlib.sha256(source).hexdigest() != sha256:
        raise RefusedError(f"{what} needs the architecture in '{path}', but that file has changed since; {way_out}.")
    danger = _danger(status, "the file") or _danger_of_folder(path.resolve().parent)
    if danger:
        raise RefusedError(f"the architecture in '{path}' is not imported because {danger}; {way_out}.")
    return _import(path, name, source)


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    try:
        if not path.is_file():
            raise MissingError(f"'{path}' is not a file; name the Python file that holds the factory.")
        with path.open("rb") as file:
            return file.read(), os.fstat(file.fileno())
    except OSError as error:
        raise MissingError(f"'{path}' cannot be read: {error.strerror or error}; check the path.") from None


def _danger(status: os.stat_result, what: str) -> str:
    if status.st_uid not in (os.geteuid(), 0):
        return f"{what} belongs to another user"
    if status.st_mode & _WRITABLE_BY_OTHERS:
        return f"others may write to {what}"
    return ""


def _danger_of_folder(folder: Path) -> str:
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        return "anyone may replace files in its folder"
    return ""


def _import(path: Path, name: str, source: bytes) -> Factory:
    sha256 = hashlib.sha256(source).hexdigest()
    module = ModuleType(f"xaicli_factory_{sha256[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and typing look their module up
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        raise PluginError(f"'{path}' cannot be imported: {type(error).__name__}: {error}; correct the file.") from error
    function = getattr(module, name, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UsageError(f"'{path.name}' has no factory '{name}'.{nearest(name, own)} Write {path.name}:FACTORY.")
    return Factory(path, name, sha256, function)
