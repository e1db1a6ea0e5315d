"""What a run's sources are called, and which of them are compared with which."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaicli.signatures import show

CONTROLS = frozenset({"random", "edges", "constant"})

Source = Mapping[str, Any]


@dataclass(frozen=True)
class Contestant:
    """One source as tables and comparisons see it.

    number: in the scores store. name: no other's in its group, or, for models, in the run. group: counted from 0; the
    explainers of one checkpoint, or the checkpoints judged on the same images.
    """

    number: int
    name: str
    group: int
    control: bool


def contestants(sources: Sequence[Source], parents: Sequence[Mapping[str, Any]]) -> list[Contestant]:
    """The sources as a scores store lists them, and the parents of each, with paths where they are known."""
    explained = any("attributions" in source["parents"] for source in sources)
    keys = [source["checkpoint"] if explained else _images(source) for source in sources]
    groups = list(dict.fromkeys(keys))
    if explained:
        names = [""] * len(sources)
        for group in groups:
            members = [number for number, key in enumerate(keys) if key == group]
            for number, name in zip(members, _numbered(_methods([sources[n] for n in members])), strict=True):
                names[number] = name
    else:
        names = _models(sources, parents)
    return [
        Contestant(number, names[number], groups.index(key), explained and source["method"] in CONTROLS)
        for number, (source, key) in enumerate(zip(sources, keys, strict=True))
    ]


def _is_attack(source: Source) -> bool:
    return "images" in source["parents"] or source["method"] == "worst-case"


def _images(source: Source) -> str:
    """What makes two models' images the same: both clean, or made by the same attack."""
    return json.dumps([source["method"], source["options"]], sort_keys=True) if _is_attack(source) else ""


def _models(sources: Sequence[Source], parents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Checkpoints by their files, or by their recipes where those are not known; attacks where images were judged."""
    methods = _methods(sources)
    paths = [str(parent["checkpoint"].get("path") or "") for parent in parents]
    stems = [Path(path).stem if path else source["checkpoint"][:8] for path, source in zip(paths, sources, strict=True)]
    if not any(_is_attack(source) for source in sources):
        return _numbered([stem if path else method for stem, path, method in zip(stems, paths, methods, strict=True)])
    if len(set(stems)) == 1:
        return _numbered(methods)
    return _numbered([f"{stem}: {attack}" for stem, attack in zip(stems, methods, strict=True)])


def _methods(sources: Sequence[Source]) -> list[str]:
    """Methods, with the options in which sources of the same method differ."""
    names = []
    for source in sources:
        same = [other["options"] for other in sources if other["method"] == source["method"]]
        differing = [key for key, value in source["options"].items() if any(o.get(key) != value for o in same)]
        options = ",".join(f"{key}={_show(source['options'][key])}" for key in differing)
        names.append(f"{source['method']}:{options}" if options else str(source["method"]))
    return names


def _numbered(names: Sequence[str]) -> list[str]:
    """The names; those that occur again are told apart by which one it is."""
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _show(value: Any) -> str:
    return show(tuple(value) if isinstance(value, list) else value)
