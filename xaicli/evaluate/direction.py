"""Which way of a metric is better: said once, in words, in the first line of its docstring."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Better: TypeAlias = Literal["lower", "higher", "neither"]

ARROWS: dict[Better, str] = {"lower": "↓", "higher": "↑", "neither": ""}
_WORDS = re.compile(r"\b(lower|higher|neither) is better\b")


def better(summary: str) -> Better:
    """The way that a metric's summary names; "neither" where it names none, as a third party's may."""
    named = named_ways(summary)
    return named[0] if len(named) == 1 else "neither"


def named_ways(summary: str) -> list[Better]:
    """Every way that a summary names; of our own metrics exactly one."""
    return _WORDS.findall(summary)
