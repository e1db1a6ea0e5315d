"""Whether a model gives away which images it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.separation import area, balanced_accuracy, true_positives
from xaicli.evaluate.statistics import Values
from xaicli.evaluate.trained import Trained
from xaicli.evaluate.whole import Bits, Columns, Facts, Figure

FEWEST_MODELS = 4  # one that is attacked and three shadows: with two, no row has two values to tell a spread from
SHARES = {"": 0.001, "at-1-percent": 0.01}  # of false positives
LEAST_VARIANCE = 1e-12  # of shadows that all say the same


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """How well each model's members are told from others."""
    confidences = np.stack([own[""] for own in columns]).astype(np.float64)
    included = np.stack([own["included"] for own in columns]) > 0.5
    found = []
    for number, one in enumerate(facts):
        shadowed = one["rows"] == "canaries"
        attack = likelihood_ratios if shadowed else one_threshold
        scores = attack(confidences, included, number)
        details = {
            "variant": "likelihood ratio" if shadowed else "one threshold",
            "shadows": len(columns) - 1 if shadowed else 0,
            "members": int((included[number] & np.isfinite(scores)).sum()),
            "others": int((~included[number] & np.isfinite(scores)).sum()),
        }
        found.append(_figures(scores, included[number], details, seed))
    return found


def _figures(scores: Values, included: Bits, details: Mapping[str, Any], seed: int) -> list[Figure]:
    defined = np.isfinite(scores)
    members, others = scores[included & defined], scores[~included & defined]
    estimates = {part: true_positives(members, others, share) for part, share in SHARES.items()}
    estimates |= {"auc": area(members, others, seed=seed)}
    estimates |= {"balanced-accuracy": balanced_accuracy(members, others, seed=seed)}
    undefined = int((~defined).sum())
    return [
        Figure(
            part, replace(one, undefined=undefined), "lower", proportion=part != "auc", details={} if part else details
        )
        for part, one in estimates.items()
    ]


def likelihood_ratios(confidences: Values, included: Bits, number: int) -> Values:
    """How much likelier one model's confidences are if it was trained on the row, as a logarithm [n].

    confidences, included: [models, n]; all the others are its shadows. Both likelihoods are normal around the mean of
    the row's own shadows, with one variance each for all rows: a row alone has too few shadows to tell its own.
    Undefined for rows that all shadows or none were trained on.
    """
    shadow = (np.arange(len(included)) != number)[:, None]
    return _density(confidences, included & shadow, number) - _density(confidences, ~included & shadow, number)


def _density(confidences: Values, chosen: Bits, number: int) -> Values:
    """The log density of one model's values, less a constant, by the models chosen for each row."""
    count = chosen.sum(0)
    mean = np.where(count > 0, (confidences * chosen).sum(0) / np.maximum(count, 1), np.nan)
    spread = float((np.square(confidences - mean) * chosen).sum(where=count > 0))
    freedom = int(np.maximum(count - 1, 0).sum())
    variance = max(spread / freedom, LEAST_VARIANCE) if freedom else np.nan
    density: Values = -(np.log(variance) + np.square(confidences[number] - mean) / variance) / 2
    return density


def one_threshold(confidences: Values, included: Bits, number: int) -> Values:
    """The confidence of one model above the middle between its members' mean and the others', [n].

    The likelihood ratio of two normal distributions of one variance, the same for all rows, is 0 there.
    """
    values, members = confidences[number], included[number]
    defined = np.isfinite(values)
    kinds = [values[members & defined], values[~members & defined]]
    if not all(len(kind) for kind in kinds):
        return np.full_like(values, np.nan)
    middle: float = sum(kind.mean() for kind in kinds) / 2
    scores: Values = values - middle
    return scores


@reports(parts=("included",), together=figures)
def membership(confidence: Tensor, trained: Trained) -> Scores:
    """Share of training images told from others at 0.1 % false positives, lower is better (Carlini et al., 2022).

    By the logit-scaled confidence in the class that an image was trained as, which is the rows' value. Of at least four
    checkpoints with canaries of other seeds each is attacked by the others: a canary's likelihood ratio between normal
    distributions around what they say when they were trained on it and when not, of one variance each. A checkpoint
    alone is attacked by one threshold for all images: its training rows against the held-out rows of the same data,
    canaries left out. Beside it stand the share at 1 %, the area under the curve and the accuracy, both kinds weighing
    the same, at a likelihood ratio of 1. 0.1 % is undefined below 1,000 images that were left out, a likelihood ratio
    where all other checkpoints or none were trained on the image.
    """
    return Scores(confidence, {"included": trained.included.double()})


def statement(name: str, value: float | None, details: Mapping[str, Any]) -> str:
    """How a model was attacked, in one sentence."""
    shadows, members, others = (details[key] for key in ("shadows", "members", "others"))
    how = f"by the likelihood ratio of {shadows} other models" if shadows else "by one threshold for all images"
    few = "" if value is not None else f"; {others:,} are too few to see {min(SHARES.values()):.1%} of them"
    return f"{name} was attacked {how}: {members:,} images that it was trained on against {others:,} others{few}."
