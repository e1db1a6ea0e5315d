"""The noise, or the steps, that a privacy budget allows after what was spent of it before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from xaicli.errors import UsageError
from xaicli.train.private.accountant import Mechanism, epsilon_of

SLACK = 0.002  # of epsilon, that may be left of the budget
LEAST_NOISE, MOST_NOISE = 1e-3, 1e4
CLOSEST = 2e-5  # relative; noise multipliers between which epsilon jumps, where prv gives way to rdp
PATIENCE = 8  # secants, before the bracket is halved


def noise_for(
    epsilon: float,
    delta: float,
    sample_rate: float,
    steps: int,
    accountant: str = "prv",
    spent: Sequence[Mechanism] = (),
) -> float:
    """The noise multiplier with which `steps` steps after those `spent` come to epsilon, or at most 0.2 % less.

    Raises UsageError where no noise suffices, or none that would leave anything to learn.
    """
    _refuse(epsilon, delta, accountant, spent)

    def cost(noise: float, by: str = accountant) -> float:
        return epsilon_of([*spent, Mechanism(noise, sample_rate, steps)], delta, by)

    nearly = _meet(lambda noise: cost(noise, "rdp"), epsilon, 1.0)  # a quick bound, and not far off
    noise = _meet(cost, epsilon, nearly)
    if cost(noise) > epsilon:
        raise UsageError(
            f"epsilon {epsilon:g} is too small for {steps} steps at a rate of {sample_rate:.3g}: a noise multiplier of "
            f"{MOST_NOISE:g} still costs more, and leaves nothing to learn; raise epsilon, or train for fewer epochs."
        )
    return noise


def steps_within(
    epsilon: float,
    delta: float,
    noise_multiplier: float,
    sample_rate: float,
    most: int,
    accountant: str = "prv",
    spent: Sequence[Mechanism] = (),
) -> int:
    """How many steps after those `spent`, up to `most`, keep within epsilon; it may be none.

    Raises UsageError where everything is spent already.
    """
    _refuse(epsilon, delta, accountant, spent)

    def cost(steps: int) -> float:
        return epsilon_of([*spent, Mechanism(noise_multiplier, sample_rate, steps)], delta, accountant)

    if cost(most) <= epsilon:
        return most
    low, high, halve = 0, most, False
    below, above = cost(low), cost(high)
    while high - low > 1:
        share = 0.5 if halve else (epsilon**2 - below**2) / (above**2 - below**2)  # epsilon grows about with the root
        middle = min(max(low + round(share * (high - low)), low + 1), high - 1)
        found, width = cost(middle), high - low
        if found <= epsilon:
            low, below = middle, found
        else:
            high, above = middle, found
        halve = 2 * (high - low) > width
    return low


def _refuse(epsilon: float, delta: float, accountant: str, spent: Sequence[Mechanism]) -> None:
    if not 0 < epsilon < math.inf:
        raise UsageError(f"epsilon {epsilon:g} is no budget; ask for a finite number above 0.")
    before = epsilon_of(spent, delta, accountant)
    if spent and before >= epsilon:
        raise UsageError(
            f"earlier trainings on this data have spent epsilon {before:.4g} of the {epsilon:g} asked for; "
            "ask for more, or train on other data."
        )


def _meet(cost: Callable[[float], float], budget: float, guess: float) -> float:
    """The noise at which a cost that falls with it is within the budget, by SLACK of it at most.

    The nearest allowed noise if there is none. Secants in logarithms, where the cost is nearly a straight line, kept
    between what is known to be too little and enough.
    """
    low, high, noise, slope = 0.0, math.inf, guess, -1.0
    last: tuple[float, float] | None = None
    turns = 0
    while high > low * (1 + CLOSEST):
        found = cost(noise)
        if (1 - SLACK) * budget <= found <= budget or noise == (MOST_NOISE if found > budget else LEAST_NOISE):
            return noise
        low, high = (noise, high) if found > budget else (low, noise)
        turns += 1
        here = math.log(noise), math.log(min(max(found / budget, 1e-9), 1e9))
        if last is not None and last[0] != here[0]:
            slope = min(max((here[1] - last[1]) / (here[0] - last[0]), -10.0), -0.1)
        last, noise = here, math.exp(here[0] + (math.log1p(-SLACK / 2) - here[1]) / slope)
        if not low < noise < high or turns > PATIENCE:
            noise = math.sqrt(max(low, LEAST_NOISE) * min(high, MOST_NOISE))
        noise = min(max(noise, LEAST_NOISE), MOST_NOISE)
    return high
