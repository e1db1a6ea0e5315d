"""What every query starts from: some rows, how to ask about them, and what the model says of their own images.

A query marked `anchor` carries the logits on the row's own image and the class they lead to; a method's stored
prediction and target are those of its first anchor, so they do not depend on which other methods run beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from xaicli.explain.background import Background
from xaicli.explain.model import Judge
from xaicli.explain.quantity import Target, score
from xaicli.run.calls import Answer, Calls

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Block:
    """The root of all queries: some rows and how to ask about them."""

    calls: Calls
    images: Tensor  # [n, C, H, W] in [0, 1], in the model's dtype
    labels: Tensor  # int64 [n], 65535 unknown
    target: Target
    quantity: str
    background: Background = field(default_factory=Background)  # background(100): images of the training data
    judge: Judge | None = None  # of a checkpoint that refuses rows


@dataclass(frozen=True)
class Scored:
    """What the model says about the rows' own images."""

    logits: Tensor  # [n, K]
    target: Tensor  # int64 [n]
    against: Tensor  # int64 [n]
    score: Tensor  # [n], the explained quantity


def anchor(function: F) -> F:
    """Mark a query whose answer is a `Scored`."""
    function.anchor = True  # type: ignore[attr-defined]
    return function


def score_of(block: Block, logits: Tensor, labels: Tensor) -> Answer:
    """Class, contrast and explained quantity [n] of some rows, for logits [n, K] on their own images."""
    target, against = block.target.resolve(logits.detach(), labels)
    return target, against, score(logits, target, against, block.quantity)
