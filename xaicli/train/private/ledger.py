"""What private trainings have released about which data: kept in the checkpoint, composed with what comes next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xaicli.errors import InputError
from xaicli.train.private.accountant import Mechanism


@dataclass(frozen=True)
class Entry:
    """The steps of one training. `data` is the digest of its training data."""

    data: str
    mechanism: Mechanism
    max_grad_norm: float


@dataclass(frozen=True)
class Ledger:
    """All private trainings that a model's weights have been through, the oldest first."""

    entries: tuple[Entry, ...] = ()

    def spent(self, data: str) -> list[Mechanism]:
        """What has been released about this data so far."""
        return [entry.mechanism for entry in self.entries if entry.data == data]

    def with_steps(self, entry: Entry, steps: int) -> Ledger:
        """The ledger after one more training, of the entry's kind that has come to `steps` steps.

        The count is the training's own, which a resumed one goes on with, so that nothing is added up here twice.
        """
        if not steps:
            return self
        return Ledger((*self.entries, replace(entry, mechanism=replace(entry.mechanism, steps=steps))))

    def document(self) -> list[dict[str, Any]]:
        """As JSON, from which `of_document` makes an equal ledger."""
        return [
            {
                "data": entry.data,
                "noise_multiplier": entry.mechanism.noise_multiplier,
                "sample_rate": entry.mechanism.sample_rate,
                "steps": entry.mechanism.steps,
                "max_grad_norm": entry.max_grad_norm,
            }
            for entry in self.entries
        ]

    @classmethod
    def of_document(cls, document: Sequence[Mapping[str, Any]], what: str = "the privacy ledger") -> Ledger:
        """The ledger of a checkpoint. Raises InputError, naming `what`, for one that cannot be composed with."""
        try:
            return cls(tuple(_entry(one) for one in document))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{what} is malformed ({error}); train the model again.") from None


def _entry(one: Mapping[str, Any]) -> Entry:
    mechanism = Mechanism(float(one["noise_multiplier"]), float(one["sample_rate"]), int(one["steps"]))
    if not (0 <= mechanism.noise_multiplier < math.inf and 0 < mechanism.sample_rate <= 1 and mechanism.steps > 0):
        raise ValueError(f"{mechanism} is none")
    return Entry(str(one["data"]), mechanism, float(one["max_grad_norm"]))
