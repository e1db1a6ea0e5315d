"""What is explained: the rule that picks a class for each row, and the scalar quantity of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.data.dataset import UNKNOWN
from xaicli.errors import UsageError, nearest
from xaicli.run.classes import class_number

RULES = ("predicted", "label", "runner-up", "least-likely")
REFUSAL = "unknown"  # what a checkpoint's detector says, in the place of a class
QUANTITIES = ("logit", "probability", "log-probability", "margin")
NONE = UNKNOWN  # `against` of a row that is explained without a contrast


@dataclass(frozen=True)
class Target:
    """A rule (`predicted`, ...) or a fixed class, optionally in contrast to another class."""

    rule: str
    index: int = NONE
    against: int = NONE

    def resolve(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Class and contrast of every row, int64 [n]; a `label` that is unknown stays 65535."""
        if self.rule == "label":
            target = labels
        elif self.rule == "predicted":
            target = logits.argmax(1)
        elif self.rule == "least-likely":
            target = logits.argmin(1)
        elif self.rule == "runner-up":
            target = logits.topk(2, dim=1).indices[:, 1]
        else:
            target = torch.full_like(labels, self.index)
        return target, torch.full_like(labels, self.against)


def asks_refusal(text: str, classes: Sequence[str]) -> bool:
    """Whether --target asks for what the detector says; a class of that name wins."""
    return text == REFUSAL and text not in classes


def parse_target(text: str, classes: Sequence[str]) -> Target:
    """Read --target: a rule, a class, CLASS,CLASS for the contrast of two logits, or `unknown` for the refusal.

    An exact index or name wins; `name:...` forces a name. UsageError names the nearest class.
    """
    if text in RULES and text not in classes:
        return Target(text)
    if asks_refusal(text, classes):
        return Target(text, len(classes))  # the output behind the classes' own
    if "," in text and text not in classes:
        first, _, second = text.partition(",")
        return Target(text, parse_class(first, classes), parse_class(second, classes))
    return Target(text, parse_class(text, classes))


def parse_class(text: str, classes: Sequence[str]) -> int:
    """A class by index or name."""
    return class_number(text, classes, "this checkpoint", (*RULES, REFUSAL))


def check_quantity(quantity: str, target: Target) -> None:
    """UsageError for an unknown quantity, or a contrast of anything but logits."""
    if quantity not in QUANTITIES:
        raise UsageError(
            f"--quantity '{quantity}' is unknown.{nearest(quantity, QUANTITIES)} Use {', '.join(QUANTITIES)}."
        )
    if target.rule == REFUSAL and quantity != "logit":
        raise UsageError(f"a refusal is a score and has no --quantity {quantity}; leave --quantity out.")
    if target.against != NONE and quantity != "logit":
        raise UsageError(f"a contrast of two classes explains logits, not --quantity {quantity}; leave --quantity out.")


def score(logits: Tensor, target: Tensor, against: Tensor, quantity: str) -> Tensor:
    """The explained quantity of every row, [n], differentiable in the logits [n, K].

    `logit` is f_c, or f_c - f_a where the row has a contrast a; `margin` is f_c less the largest other logit.
    """
    if quantity == "probability":
        return _pick(logits.softmax(1), target)
    if quantity == "log-probability":
        return _pick(logits.log_softmax(1), target)
    chosen = _pick(logits, target)
    if quantity == "margin":
        others = logits.scatter(1, _column(target, logits), float("-inf"))
        return chosen - others.amax(1)
    contrasted = against != NONE
    if contrasted.any():
        return chosen - torch.where(contrasted, _pick(logits, against), torch.zeros_like(chosen))
    return chosen


def _column(classes: Tensor, logits: Tensor) -> Tensor:
    """Class numbers as an index column; an unknown class points at class 0 (its row is marked failed elsewhere)."""
    return torch.where(classes < logits.shape[1], classes, 0).unsqueeze(1)


def _pick(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(1, _column(classes, values)).squeeze(1)
