"""What metrics ask of a model: responses to perturbed images, each asked once and shared by all metrics.

A root `attribution` or `mask` makes an answer belong to one explainer; everything else is shared between explainers.
"""

from __future__ import annotations

from xaicli.evaluate import asked, masked, walks
from xaicli.run.plan import Queries

MODULES = (asked, masked, walks)
EVALUATE = Queries(
    {query.__name__: query for module in MODULES for query in module.QUERIES},
    frozenset({"subject", "attribution", "mask", "labels", "clean"}),
)
