"""Several radii in one run: the security curve of an attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from xaicli.attack.norms import DEFAULT_EPS

A = TypeVar("A")


def radii_of(norm: str, eps: float | tuple[float, ...] | None) -> tuple[float, ...]:
    """The radii asked for, ascending."""
    if eps is None:
        return (DEFAULT_EPS[norm],)
    return tuple(sorted(set(eps))) if isinstance(eps, tuple) else (eps,)


def at_radii(norm: str, eps: float | tuple[float, ...] | None, attack: Callable[[float], A]) -> A:
    """An attack at the largest radius asked for, which has the same at the smaller ones go before it."""
    *smaller, largest = (attack(radius) for radius in radii_of(norm, eps))
    described: Any = largest
    return replace(described, smaller=tuple(smaller)) if smaller else largest
