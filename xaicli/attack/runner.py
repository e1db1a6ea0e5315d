"""Who runs an attack: our engine those that are its own, the bridge those of the library; and what each may cost."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from torch import Tensor

from xaicli.attack.engine import Attacked, Engine
from xaicli.attack.library.borrowed import Borrowed
from xaicli.attack.library.bridge import BEYOND, Library
from xaicli.attack.plan import Search, Series, forwards_of
from xaicli.run.calls import Calls
from xaicli.run.random import Stream

AnyAttack: TypeAlias = Search | Series | Borrowed


class Runner(Protocol):
    """What attacks the samples of a block."""

    def run(self, images: Tensor, labels: Tensor) -> Attacked:
        """Attack images [n, C, H, W] with true labels int64 [n]."""


def runner(attack: AnyAttack, calls: Calls, stream: Stream, *, bf16: bool = False) -> Runner:
    """What runs this attack; bf16: where it can, it searches in bfloat16."""
    if isinstance(attack, Borrowed):
        return Library(attack, calls, stream)
    return Engine(attack, calls, stream, bf16=bf16)


def radii_in(attack: AnyAttack) -> tuple[float, ...]:
    """The radii that one run asks about, ascending: several make a security curve."""
    if isinstance(attack, Borrowed):
        return () if attack.eps is None else (attack.eps,)
    if isinstance(attack, Series):
        return attack.radii
    return tuple(one.eps for one in (*attack.smaller, attack) if one.eps is not None)


def most_forwards(attack: AnyAttack, shape: tuple[int, int, int], classes: int) -> int:
    """The most forwards for one row, those of the clean image and of the verdict included.

    Raises UsageError for images or classes that the attack cannot work on.
    """
    if not isinstance(attack, Borrowed):
        return forwards_of(attack, classes)
    attack.refuse(shape, classes)
    return 2 + len(BEYOND) * attack.looks_for_border + attack.cost(shape[0] * shape[1] * shape[2], classes)
