"""Whose turn it is: the attempts at every sample of a block, and what has come of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NEVER = 1 << 30


class Try(NamedTuple):
    """One attempt at one sample."""

    row: int
    attempt: int  # 0, 1, ...


@dataclass(frozen=True)
class Best:
    """The best points so far, their logits, and the loss by which they are compared: of one sample or of many."""

    point: Tensor
    logits: Tensor
    loss: Tensor


class Tries:
    """The attempts at the rows of a block, `limit` at each.

    A row is done with its first attempt that breaks it; those after it count for nothing, even if they ended earlier.
    So the outcome does not depend on the order in which attempts end.
    """

    def __init__(self, rows: Sequence[int], limit: int, best: Best) -> None:
        count = len(best.loss)
        self.limit, self.best = limit, best
        self.broken = torch.zeros(count, dtype=torch.bool, device=best.loss.device)
        self._ready = deque(Try(row, 0) for row in rows)
        self._open = list(rows)
        self._started = [1] * count
        self._stopped = [NEVER] * count  # the first attempt that broke the row, or lost it
        self._best_attempt = [NEVER] * count
        self._walked: list[dict[int, int]] = [{} for _ in range(count)]  # steps of the attempts that have ended

    @property
    def steps(self) -> list[int]:
        """Steps of every row: up to its break, or of all attempts."""
        return [
            sum(steps for attempt, steps in walked.items() if attempt <= stopped)
            for walked, stopped in zip(self._walked, self._stopped, strict=True)
        ]

    def next(self, count: int, *, ahead: bool) -> list[Try]:
        """At most `count` tries whose turn it is; ahead: also attempts that those before them may make superfluous."""
        coming: list[Try] = []
        while self._ready and len(coming) < count:
            which = self._ready.popleft()
            if not self.is_over(which):
                coming.append(which)
        while len(coming) < count:
            able = [
                row
                for row in self._open
                if self._started[row] < min(self.limit, self._stopped[row]) and (ahead or not self._is_running(row))
            ]
            if not able:
                break
            row = min(able, key=lambda row: (self._is_running(row), self._started[row], row))
            coming.append(Try(row, self._started[row]))
            self._started[row] += 1
        return coming

    def again(self, which: Try) -> None:
        """A try that has left the batch wants to go on."""
        self._ready.appendleft(which)

    def is_over(self, which: Try) -> bool:
        """Whether an earlier attempt has settled the row."""
        return which.attempt > self._stopped[which.row]

    def is_lost(self, row: int) -> bool:
        """Whether the row's logits were not finite somewhere."""
        return self._stopped[row] < NEVER and not self.broken[row]

    def end(self, which: Try, steps: int, best: Best, *, broken: bool, stop: bool) -> None:
        """An attempt has ended after that many steps; stop: no later one is needed."""
        row, attempt = which
        if self.is_over(which):
            return
        self._walked[row][attempt] = steps
        if stop:
            self._stopped[row] = attempt
            self.broken[row] = broken
            self._keep(which, best)
        elif self._stopped[row] == NEVER:
            self.broken[row] |= broken
            loss, before = float(best.loss), float(self.best.loss[row])
            if loss > before or (loss == before and attempt < self._best_attempt[row]):
                self._keep(which, best)
        last = min(self.limit - 1, self._stopped[row])
        if all(attempt in self._walked[row] for attempt in range(last + 1)):
            self._open.remove(row)

    def _keep(self, which: Try, best: Best) -> None:
        row, self._best_attempt[which.row] = which
        self.best.point[row], self.best.logits[row], self.best.loss[row] = best.point, best.logits, best.loss

    def _is_running(self, row: int) -> bool:
        return self._started[row] > len(self._walked[row])
