"""How many forwards a run over several explainers costs, those that ask the explainers again included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xaicli.evaluate.again import Asked, planned_again
from xaicli.evaluate.metric import Metric, planned_forwards
from xaicli.evaluate.randomised import layers_in_order
from xaicli.evaluate.sources import Source
from xaicli.models.classifier import Classifier
from xaicli.models.layers import find_layer

Asking = Callable[[Source], Asked]
Network = Callable[[Source], Classifier]


def forecast(metrics: Sequence[Metric], sources: Sequence[Source], size: int, asking: Asking, network: Network) -> int:
    """Forwards per row of all metrics over all sources, for images of so many pixels; of draws, all networks count.

    asking, network: how a source's explainer is asked again, and its model; called only where a metric needs it.
    """
    groups: dict[tuple[object, str], list[Source]] = {}
    for source in sources:
        groups.setdefault((source.model, str(source.artifact.job["target"])), []).append(source)
    total = 0
    for members in groups.values():
        facts = [costs(source, members, size, asking, network) for source in members]
        found = planned_forwards(metrics, 0, size, facts=facts[0])
        found += sum(planned_forwards(metrics, 1, size, 0, facts=own) for own in facts)
        total += found * (members[0].question.draws or 1)
    return total


def costs(
    source: Source, members: Sequence[Source], size: int, asking: Asking, network: Network
) -> Mapping[str, Callable[[], int]]:
    """The facts on which costs depend: `again`, `own` and `depth`, as again.py explains them."""

    def channels(layer: str) -> int:
        return find_layer(network(source), layer).channels

    return {
        "again": lambda: planned_again([asking(member) for member in members], size, channels),
        "own": lambda: planned_again([asking(source)], size, channels),
        "depth": lambda: len(layers_in_order(network(source))),
    }
