"""Numbers and texts as a person reads them in a table."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from typing import Any

from rich.markup import escape

PERCENT = ("accuracy", "rate", "drop", "gain", "confidence", "game", "mass")
DIGITS = 4  # significant, of the largest number of a column


def is_percent(name: str) -> bool:
    """Whether a figure of this name is a fraction that is shown in percent."""
    return name.partition("@")[0].split("-")[-1].split("_")[-1] in PERCENT


def figure(name: str, value: Any) -> str:
    """A number as a person reads it: rates in percent, others with four significant digits."""
    if value is None or isinstance(value, str):
        return text(value)
    if isinstance(value, float) and is_percent(name):
        return f"{100 * value:.1f} %"
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def text(value: Any) -> str:
    """A cell's text; a path such as `[red].h5` is not taken for markup, and what is no UTF-8 is shown escaped."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{escape(str(key))}={text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))


def decimals(values: Sequence[float]) -> int | None:
    """Decimal places that suit all of these numbers, or None where they differ too much in size."""
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return 1
    places = min(max(DIGITS - 1 - floor(log10(max(sizes))), 0), 6)
    return places if min(sizes) >= 10.0**-places and max(sizes) < 10**6 else None


def number(value: float | None, places: int | None, percent: bool = False) -> str:
    """One number of a column with so many places; of fractions, the percentage without its sign."""
    if value is None:
        return "-"
    if percent:
        return f"{100 * value:.1f}"
    return f"{value:.{DIGITS - 1}g}" if places is None else f"{value:.{places}f}"
