"""Methods of third parties: entry points of installed packages, and functions in the user's own files.

Both are found and read without importing anything; their code runs only when it is used. A package offers a method by

    [project.entry-points."xaicli.explainers"]
    my-map = "my_package.maps:my_map"
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from xaicli.errors import MissingError, PluginError, UsageError, nearest

GROUPS = {
    "train": "xaicli.recipes",
    "attack": "xaicli.attacks",
    "explain": "xaicli.explainers",
    "evaluate": "xaicli.metrics",
    "generate": "xaicli.generators",
}
"""Verb -> the group of entry points whose functions are its methods."""


@dataclass(frozen=True)
class Plugin:
    """A function of somebody else's. identity: what a job says of it, so that changed code is another job."""

    name: str
    path: Path
    function: str
    module: str | None
    """Its importable name; None for a file that is no module."""
    identity: Mapping[str, str]

    def load(self) -> Callable[..., Any]:
        """Import the function. Raises PluginError if that fails, UsageError if it is not there."""
        try:
            module = import_module(self.module) if self.module else _import_file(self.path)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"'{self.name}' cannot be imported: {type(error).__name__}: {error}; mend '{self.path.name}'."
            ) from error
        function = getattr(module, self.function, None)
        if not callable(function):
            own = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise UsageError(f"'{self.path.name}' has no function '{self.function}'.{nearest(self.function, own)}")
        loaded: Callable[..., Any] = function
        return loaded


@cache
def installed(verb: str) -> dict[str, Plugin]:
    """The verb's methods that installed packages offer, by name."""
    from importlib.metadata import entry_points

    found = {}
    for point in entry_points(group=GROUPS[verb]) if verb in GROUPS else ():
        module, _, function = point.value.partition(":")
        path = _source(point.dist, module)
        if path is not None and function.isidentifier():
            package = {"package": point.dist.name, "version": point.dist.version} if point.dist else {}
            found[point.name] = Plugin(point.name, path, function, module, package)
    return found


def in_file(path: Path, function: str) -> Plugin:
    """A function of a file that the user has named, and so trusts. Raises MissingError if it cannot be read."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise MissingError(f"'{path}' cannot be read: {error.strerror or error}; check the path.") from None
    identity = {"file": path.name, "sha256": hashlib.sha256(source).hexdigest()}
    return Plugin(function.replace("_", "-"), path.absolute(), function, None, identity)


def _source(distribution: Any, module: str) -> Path | None:
    """The file of a module, told from the package's list of files; looked up by Python if it is installed elsewhere."""
    below = module.replace(".", "/")
    for name in (f"{below}.py", f"{below}/__init__.py"):
        path = Path(str(distribution.locate_file(name))) if distribution else Path(name)
        if path.is_file():
            return path
    from importlib.util import find_spec

    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _import_file(path: Path) -> ModuleType:
    """The file's bytes, compiled as they were hashed; it may import installed packages, not its neighbours."""
    source = path.read_bytes()
    module = ModuleType(f"xaicli_plugin_{hashlib.sha256(source).hexdigest()[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and typing look their module up
    exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    return module
