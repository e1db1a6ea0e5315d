"""AutoAttack by its authors' definition: four attacks, each on what the ones before it have left."""

from __future__ import annotations

from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Literal

from xaicli.attack.apgd import auto_pgd
from xaicli.attack.fab import boundary
from xaicli.attack.loss import DLR_CLASSES, aimed_dlr, away
from xaicli.attack.plan import Search, Series
from xaicli.attack.radii import radii_of
from xaicli.attack.square import SquareSearch
from xaicli.signatures import Count, Radii

NAMES = ("apgd-ce", "apgd-t", "fab-t", "square")
STANDARD = (100, 9, 5000)  # steps, targets, queries
HIDDEN = ("smaller", "restarts", "targets", "last", "minimise", "cost")  # of what describes an attack
L1_RESTARTS, L1_TARGETS = 5, 5  # of apgd-ce and apgd-t


def autoattack(
    *,
    norm: Literal["linf", "l2", "l1"] = "linf",
    eps: Radii | None = None,
    steps: Count = 100,
    targets: Count = 9,
    queries: Count = 5000,
) -> Series:
    """AutoAttack's standard evaluation: apgd-ce, apgd-t, fab-t, square (Croce and Hein, 2020).

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf, 0.5 for l2 and 12 for l1; several give a security
    curve. Each attack goes on with the samples that those before it have left, from 1 to 4; `stage` tells which one
    broke a sample. The store names the protocol, which is the official one only with the steps, targets and queries of
    the defaults and at least 4 classes. l1: apgd-ce has 5 restarts and apgd-t 5 targets (Croce and Hein, 2021).
    """
    radii = radii_of(norm, eps)

    def at(radius: float) -> tuple[Search, ...]:
        restarts, aims = (L1_RESTARTS, min(targets, L1_TARGETS)) if norm == "l1" else (1, targets)
        return (
            auto_pgd(norm, radius, steps, away, restarts),
            auto_pgd(norm, radius, steps, aimed_dlr, aims, towards="each"),
            boundary(norm, radius, steps, targets),
            SquareSearch(norm, radius, queries),
        )

    standard = (steps, targets, queries) == STANDARD and len(radii) == 1
    return Series(
        norm, radii, NAMES, tuple(at(radius) for radius in radii), "autoattack standard" if standard else None
    )


@dataclass(frozen=True)
class Protocol:
    """What a series did, in words; two results may be compared when their hashes are equal."""

    name: str
    official: bool
    text: str

    @property
    def hash(self) -> str:
        """Of the text, 16 hexadecimal digits."""
        return sha256(self.text.encode()).hexdigest()[:16]


def protocol_of(series: Series, classes: int) -> Protocol:
    """The protocol of a series on a network of so many classes; with fewer than 4 it is never the official one."""
    official = series.protocol is not None and classes >= DLR_CLASSES
    stages = [
        f"{name}({', '.join(_described(search, classes))})"
        for attacks in series.attacks
        for name, search in zip(series.names, attacks, strict=True)
    ]
    name = f"{series.protocol if official else 'custom'} {series.norm}"
    return Protocol(name, official, f"{name}: {'; '.join(stages)}")


def _described(search: Search, classes: int) -> list[str]:
    values = {field.name: getattr(search, field.name) for field in fields(search) if field.name not in HIDDEN}  # type: ignore[arg-type]
    values["loss"] = search.loss.__name__
    values["tries"] = search.tries(classes)
    return [f"{name}={value}" for name, value in values.items()]
