"""A job: the complete description of what one output depends on, and its id.

Not in it: device, host, threads, time, paths, and whatever else runs in the same command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from xaicli import __version__
from xaicli.files.canonical import digest_json
from xaicli.run.settings import Settings
from xaicli.specs import Spec


@dataclass(frozen=True)
class Job:
    """`document` is stored in the artifact; `suffix` says whether the default name needs the id to be distinct."""

    document: dict[str, Any]
    suffix: bool

    @cached_property
    def id(self) -> str:
        """sha256 of the canonical document."""
        return digest_json(self.document)


def versions(*libraries: str) -> dict[str, str]:
    """Versions of xaicli, torch, torchvision and the given libraries, without local suffixes such as `+cpu`."""
    found = {"xaicli": __version__}
    for name in ("torch", "torchvision", *libraries):
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def make_job(
    verb: str,
    method: Spec | None,
    parents: Mapping[str, Any],
    settings: Settings,
    *,
    block: int,
    extra: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    libraries: tuple[str, ...] = (),
) -> Job:
    """Describe a job. `extra`: what else it depends on (target, quantity, ...); `defaults`: that at its default."""
    extra = dict(extra or {})
    document = {
        "verb": verb,
        "method": method.name if method else None,
        "options": method.record if method else dict(options or {}),
        "parents": dict(parents),
        "selection": {"limit": settings.limit, "per_class": settings.per_class},
        "seed": settings.seed,
        "batch_size": settings.call_rows,
        "block": block,
        "dtype": "float32",
        "versions": versions(*libraries),
        **extra,
    }
    plugin = method.method.plugin if method else None
    if plugin is not None:  # other code, other job
        document["plugin"] = dict(plugin.identity)
    ordinary = all(extra.get(name) == value for name, value in (defaults or {}).items())
    changed = bool(method.changed or plugin) if method else bool(options)
    return Job(document, suffix=changed or not settings.is_default or not ordinary)
