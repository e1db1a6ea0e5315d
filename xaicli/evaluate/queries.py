"""What metrics ask of a model: responses to perturbed images, each asked once and shared by all metrics.

A root `attribution` or `mask` makes an answer belong to one explainer; everything else is shared between explainers.
What asks the explainers again is shared too: the root `explainers` is all of them, `explainer` the number of one. Of a
pair, `attribution` and `other` are the maps.
"""

from __future__ import annotations

from xaicli.evaluate import (
    asked,
    cells,
    forgetful,
    information,
    known_scores,
    masked,
    nearby,
    neighbours,
    patches,
    paths,
    positives,
    recognised,
    road,
    subsets,
    temperature,
    tops,
    trained,
    uncertainty,
    walks,
)
from xaicli.run.plan import Queries

MODULES = (
    asked,
    cells,
    forgetful,
    information,
    known_scores,
    masked,
    nearby,
    neighbours,
    patches,
    paths,
    positives,
    recognised,
    road,
    subsets,
    temperature,
    tops,
    trained,
    uncertainty,
    walks,
)
OF_UNKNOWN_ROWS = frozenset({"origin", "detectors", "refused"})
"""Roots that tell known rows from unknown ones."""
EVALUATE = Queries(
    {query.__name__: query for module in MODULES for query in module.QUERIES},
    frozenset(
        {
            "subject",
            "attribution",
            "signed",
            "mask",
            "labels",
            "clean",
            "training",
            "trained",
            "held_out",
            "explainers",
            "explainer",
            "other",
            "judge",
            "company",
            "reached",
            "best",
        }
    )
    | OF_UNKNOWN_ROWS,
)
