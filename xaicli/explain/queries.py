"""The questions that attribution methods ask of a model, each asked once per block and shared by all methods."""

from __future__ import annotations

from xaicli.explain import (
    attention,
    backprop,
    channels,
    contrasts,
    differences,
    expectation,
    fullgrad,
    guided_paths,
    hiding,
    influence,
    last_layer,
    lime,
    lrp_passes,
    noise,
    occlusion,
    open_set,
    partition,
    passes,
    paths,
    refinement,
    representers,
    rise,
    shapley,
    superpixels,
)
from xaicli.run.plan import Function, Queries

MODULES = (
    attention,
    backprop,
    channels,
    contrasts,
    differences,
    expectation,
    fullgrad,
    guided_paths,
    hiding,
    influence,
    last_layer,
    lime,
    lrp_passes,
    noise,
    occlusion,
    open_set,
    partition,
    passes,
    paths,
    refinement,
    representers,
    rise,
    shapley,
    superpixels,
)
EXPLAIN = Queries({query.__name__: query for module in MODULES for query in module.QUERIES}, frozenset({"block"}))


def anchor_of(function: Function, queries: Queries = EXPLAIN) -> str:
    """The query whose logits and target a method's rows carry."""
    return next(
        (name for name in queries.below(function) if getattr(queries.functions.get(name), "anchor", False)),
        "prediction",
    )
