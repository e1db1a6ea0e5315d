"""Which rows every step of a training looks at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xaicli.run.random import generator


class Order(Protocol):
    """The steps of a whole training, epoch by epoch, and their rows."""

    @property
    def epochs(self) -> int:
        """How many there are; the last may be shorter."""
        ...

    @property
    def steps(self) -> int:
        """Of the whole training."""
        ...

    @property
    def drawn(self) -> int:
        """Rows of the whole training, each as often as it is drawn; where chance decides, the expected number."""
        ...

    @property
    def largest(self) -> int:
        """The most rows that a step can have."""
        ...

    def before(self, epoch: int) -> int:
        """The steps of all epochs before this one, which are counted from 1."""
        ...

    def batches(self, epoch: int, first: int) -> Iterator[NDArray[np.int64]]:
        """The positions of each step's rows, from the step `first` of the epoch on."""
        ...


@dataclass(frozen=True)
class Shuffled:
    """Every epoch is a shuffled pass over all rows, in batches of nearly equal size: one of one row upsets BatchNorm.

    Each batch comes `replays` times, one after another.
    """

    rows: int
    batch_size: int
    epochs: int
    seed: int
    replays: int = 1

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.before(self.epochs + 1)

    @property
    def drawn(self) -> int:
        """Rows of the whole training; replays aside, each once an epoch."""
        return self.epochs * self.rows

    @property
    def largest(self) -> int:
        """The rows of the larger batches."""
        return math.ceil(self.rows / self._batches)

    def before(self, epoch: int) -> int:
        """The steps of all epochs before this one."""
        return (epoch - 1) * self._batches * self.replays

    def batches(self, epoch: int, first: int) -> Iterator[NDArray[np.int64]]:
        """The positions of each step's rows, from the step `first` on."""
        order = generator(self.seed, "shuffle", epoch).permutation(self.rows)
        begun, again = divmod(first, self.replays)
        for positions in np.array_split(order, self._batches)[begun:]:
            for _ in range(again, self.replays):
                yield positions
            again = 0

    @property
    def _batches(self) -> int:
        return math.ceil(self.rows / self.batch_size)
