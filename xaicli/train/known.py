"""Which classes a training is shown, and by what its checkpoint tells the others: `--known` and `--detector`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xaicli.errors import UsageError
from xaicli.methods import describe
from xaicli.run.classes import class_number
from xaicli.signatures import Option
from xaicli.specs import Spec, parse_spec, split_options

TPR = 0.95  # of the known rows, as in the literature on open sets
_SHARE = Option("tpr", "Share", TPR)
_DRAWN = re.compile(r"(\d+)-of-(\d+)")
STREAM = "known"


@dataclass(frozen=True)
class Asked:
    """A detector with its options, and the share of known rows that its threshold is to keep."""

    spec: Spec
    tpr: float = TPR

    @property
    def record(self) -> dict[str, Any]:
        """As a job names it."""
        return {"name": self.spec.name, "options": self.spec.record, "tpr": self.tpr}


def parse_detector(text: str) -> Asked:
    """Read `NAME[:tpr=.95,k=v]`: the options are those of the detector's own signature, and `tpr`, which all take."""
    name, _, tail = text.partition(":")
    method = describe("detector", name.strip())
    given = split_options(tail, text)
    share = given.pop(_SHARE.key, str(TPR))
    try:
        tpr = _SHARE.parse(share)
    except ValueError as error:
        raise UsageError(f"'{method.name}:tpr={share}' is not valid: {error}.") from None
    if not isinstance(tpr, float) or not tpr:
        raise UsageError(f"tpr={share} would refuse every row; give the share of known rows to keep, up to 1.")
    try:
        spec = parse_spec("detector", f"{method.name}:{','.join(f'{key}={value}' for key, value in given.items())}")
    except UsageError as error:
        raise UsageError(f"{error} Beside those, every detector takes tpr=SHARE, of known rows to keep.") from None
    return Asked(spec, tpr)


def known_of(text: str, classes: Sequence[str], data: str, seed: int) -> tuple[int, ...]:
    """The numbers of the known classes, ascending.

    text: class numbers and names, or K-of-N for K classes that the seed draws from the N of the data. Raises UsageError
    for what names no classes, for a single one, of which nothing can be told apart, and for all, which leaves no
    unknown.
    """
    drawn = _DRAWN.fullmatch(text.strip()) if text.strip() not in classes else None
    if drawn is not None:
        known = _draw(int(drawn[1]), int(drawn[2]), len(classes), data, seed)
    else:
        parts = filter(None, map(str.strip, text.split(",")))
        known = tuple(sorted({class_number(part, classes, f"'{data}'") for part in parts}))
    if not 2 <= len(known) < len(classes):
        raise UsageError(
            f"--known {text} names {len(known)} of the {len(classes)} classes of '{data}'; name two or more, and leave "
            "at least one unknown."
        )
    return known


def _draw(count: int, of: int, classes: int, data: str, seed: int) -> tuple[int, ...]:
    if of != classes:
        raise UsageError(f"'{data}' has {classes} classes, not {of}; ask for --known {count}-of-{classes}.")
    from xaicli.run.random import generator

    order = generator(seed, STREAM).permutation(classes)[:count]
    return tuple(sorted(int(number) for number in order))
