"""Whether a training was as private as it claims: guesses about its canaries, and what they prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from xaicli.evaluate.one_run import lower_bound, p_value
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.statistics import Values, proportion_estimate
from xaicli.evaluate.trained import Trained
from xaicli.evaluate.whole import Bits, Columns, Facts, Figure, known
from xaicli.run.interval import LEVEL
from xaicli.signatures import Count, Positive

SHARE = 4  # one canary in so many is guessed: measured near the best for any strength of leakage from 300 canaries on


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """The bound of each source, how many guesses were right, the largest bound possible, and what was claimed."""
    return [
        _figures(own[""], own["included"] > 0.5, one, options["guesses"])
        for own, one in zip(columns, facts, strict=True)
    ]


def _figures(scores: Values, included: Bits, facts: Facts, asked: int | None) -> list[Figure]:
    m, delta, claim = len(scores), float(facts["delta"]), facts["epsilon"]
    guesses = min(asked or usual_guesses(m), m)
    hits = right_guesses(scores, included, guesses)
    right = int(hits.sum())
    bound, largest = (lower_bound(m, guesses, count, delta) for count in (right, guesses))
    details = {
        "canaries": m,
        "guesses": guesses,
        "right": right,
        "delta": delta,
        "confidence": LEVEL,
        "largest": largest,
        "claim": claim,
        "p": None if claim is None else p_value(m, guesses, right, claim, delta),
        "violated": None if claim is None else bound > claim,
    }
    return [
        Figure("", known(bound, m), "lower", details=details),
        Figure("right", proportion_estimate(hits), "lower", proportion=True),
        Figure("largest", known(largest, m), "neither"),
        Figure("claim", known(claim, m), "neither"),
    ]


def usual_guesses(m: int) -> int:
    """How many guesses are made about m canaries."""
    return -(-m // SHARE)


def right_guesses(scores: Values, included: Bits, guesses: int) -> Values:
    """1 for each right guess, else 0, [guesses]: half of them that the highest scores were trained on, half not.

    Among equal scores the first row is the higher.
    """
    order = np.argsort(-scores, kind="stable")
    high, low = -(-guesses // 2), guesses // 2
    hits = [included[order[:high]], ~included[order[len(order) - low :]]]
    return np.concatenate(hits).astype(np.float64)


@reports(parts=("included",), together=figures)
def audit(
    confidence: Tensor, trained: Trained, *, guesses: Count | None = None, delta: Positive | None = None
) -> Scores:
    """Lower bound on epsilon that the training's own canaries prove, lower is better (Steinke et al., 2023).

    With 95 % confidence the training is not (epsilon, delta)-private for any smaller epsilon. Each canary was put into
    the training, with a wrong label, by the toss of a coin; the rows' values are the logit-scaled confidence in that
    label. guesses: how many canaries to guess, half of them, of the highest confidence, as in and half, of the lowest,
    as out; fixed before the model is looked at, auto is a quarter of all. delta: auto is the checkpoint's, or that of a
    private training on as many images. Beside the bound stand the share of right guesses, the largest bound that so
    many guesses could have shown (4.4 for a quarter of 1,000 at delta 0, 5.8 for all of them), and what the checkpoint
    claims. A bound of 0 proves nothing. Needs a checkpoint that was trained with `canaries=`.
    """
    return Scores(confidence, {"included": trained.included.double()})


def statement(name: str, bound: float | None, details: Mapping[str, Any]) -> str:
    """An audit in one sentence."""
    claim = details["claim"]
    against = (
        "it claims none"
        if claim is None
        else f"the claim is {claim:.3g}: {'VIOLATED' if details['violated'] else 'not refuted'}"
    )
    return (
        f"{name}: {details['right']:,} of {details['guesses']:,} guesses about {details['canaries']:,} canaries are "
        f"right, so epsilon is at least {bound:.3g} ({details['confidence']:.0%} confidence, delta "
        f"{details['delta']:.3g}, at most {details['largest']:.3g} could have been shown); {against}."
    )
