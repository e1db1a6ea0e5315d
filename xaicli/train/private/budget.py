"""The budget of one private training: what its data has cost before, how much noise it adds, and how long it may go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xaicli.errors import UsageError
from xaicli.run.progress import say
from xaicli.train.private.accountant import Mechanism, delta_for, epsilon_of
from xaicli.train.private.ledger import Entry, Ledger
from xaicli.train.private.solve import noise_for, steps_within

DEFAULT_EPSILON = 3.0


@dataclass(frozen=True)
class Budget:
    """A private training as it is planned, on independent batches of `batch_size` rows on average."""

    rows: int
    batch_size: int
    steps: int
    noise_multiplier: float
    max_grad_norm: float
    delta: float
    accountant: str
    target: float | None  # epsilon that was asked for
    data: str  # digest of the training data
    before: Ledger  # of the weights that the training starts from

    @property
    def sample_rate(self) -> float:
        """The probability of a row to be in a batch."""
        return self.batch_size / self.rows

    @property
    def per_epoch(self) -> int:
        """The steps of an epoch, in which a row is drawn about once."""
        return steps_per_epoch(self.rows, self.batch_size)

    @property
    def epsilon(self) -> float:
        """What the whole training will have cost."""
        return self.after(self.steps)

    def after(self, steps: int) -> float:
        """Epsilon after so many steps and all that was spent on the data before; infinite without noise."""
        return epsilon_of(self.ledger(steps).spent(self.data), self.delta, self.accountant)

    def ledger(self, steps: int) -> Ledger:
        """What the weights have been through after so many steps."""
        mechanism = Mechanism(self.noise_multiplier, self.sample_rate, 0)
        return self.before.with_steps(Entry(self.data, mechanism, self.max_grad_norm), steps)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """As many as make a row be drawn about once."""
    return max(round(rows / batch_size), 1)


def plan_budget(
    options: Mapping[str, Any], *, rows: int, batch_size: int, epochs: int, data: str, before: Ledger
) -> Budget:
    """Solve for what the recipe leaves open: the noise for an epsilon, or the steps that both of them allow.

    rows: of the training data, whose digest is `data`. Raises UsageError for what cannot be had.
    """
    if batch_size > rows:
        raise UsageError(
            f"a batch of {batch_size} cannot be drawn from {rows} training images; take a --batch-size of at most that."
        )
    sigma, target = options["noise_multiplier"], options["epsilon"]
    delta = delta_for(rows, options["delta"])
    if sigma is None and target is None:
        target = DEFAULT_EPSILON
    steps, rate, accountant = epochs * steps_per_epoch(rows, batch_size), batch_size / rows, str(options["accountant"])
    spent = before.spent(data)
    if sigma is None:
        sigma = noise_for(target, delta, rate, steps, accountant, spent)
    elif target is not None:
        most = steps_within(target, delta, sigma, rate, steps, accountant, spent)
        if not most:
            raise UsageError(
                f"not one step with noise-multiplier {sigma:g} keeps within epsilon {target:g}; "
                "add noise, lower --batch-size, or leave noise-multiplier out."
            )
        if most < steps:
            say(f"the budget of epsilon {target:g} is used up after {most} of {steps} steps; training stops there.")
        steps = most
    clip = float(options["max_grad_norm"])
    return Budget(rows, batch_size, steps, float(sigma), clip, delta, accountant, target, data, before)


def bounded(epsilon: float) -> float | None:
    """Epsilon as records show it: None where there is no bound."""
    return epsilon if math.isfinite(epsilon) else None
