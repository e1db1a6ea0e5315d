"""One evaluate command: the most derived kind among the sources is the subject, the rest are its parents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from xaicli.errors import UsageError
from xaicli.evaluate.aggregate import metric_records, stored_metric_records
from xaicli.evaluate.judged import judge_images, judge_models
from xaicli.evaluate.maps import WITH_MASKS, judge_maps
from xaicli.evaluate.metric import Metric, name_metrics
from xaicli.evaluate.subject import Judged, Request
from xaicli.files.artifact import Artifact
from xaicli.files.parents import Parents
from xaicli.files.record import Record
from xaicli.files.store import open_store
from xaicli.methods import Spec, parse_spec
from xaicli.run.produce import produce
from xaicli.run.settings import Settings

DEFAULTS = {
    "checkpoint": ("accuracy",),
    "images": ("robust-accuracy", "perturbation"),
    "generated images": ("accuracy",),
    "attributions": ("deletion", "insertion", "average-drop", "increase-in-confidence"),
}
ROOTS = {
    "checkpoint": {"subject", "labels"},
    "images": {"subject", "labels", "clean"},
    "generated images": {"subject", "labels"},
    "attributions": {"subject", "labels", "attribution", "mask"},
}
ORDER = ("scores", "attributions", "images", "checkpoint")


def evaluate(request: Request, settings: Settings) -> Iterator[Record]:
    """Evaluate and yield the record of the scores store and one record per aggregate."""
    kind = next((kind for kind in ORDER if request.sources.of_kind(kind)), None)
    if kind is None:
        raise UsageError("nothing to evaluate among the sources; name a checkpoint or a store.")
    subjects = request.sources.of_kind(kind)
    if kind == "scores":
        for artifact in subjects:
            yield from _again(artifact)
        return
    parents = Parents(request.sources, settings.parents)
    if kind == "attributions":
        judged = judge_maps(subjects, request, _metrics(kind, request), parents, settings)
    elif kind == "images":
        generated = all(artifact.job.get("verb") == "generate" for artifact in subjects)
        metrics = _metrics("generated images" if generated else kind, request)
        judged = judge_images(subjects, request, metrics, parents, settings)
    else:
        judged = judge_models(subjects, request, _metrics(kind, request), parents, settings)
    yield from _finish(judged, settings)


def _finish(judged: Judged, settings: Settings) -> Iterator[Record]:
    for record in produce([judged.group], settings):
        yield record
        if record["kind"] == "scores":
            with open_store(record["path"]) as store:
                yield from metric_records(json.loads(store.aggregates()["scores"]), judged.parents, record)


def _again(artifact: Artifact) -> Iterator[Record]:
    """The aggregates of a scores store, once more."""
    with open_store(artifact.path) as store:
        store.verify()
        yield from stored_metric_records(store, {"id": store.id, "path": str(artifact.path)})


def _metrics(kind: str, request: Request) -> list[Metric]:
    """The metrics asked for, or the kind's defaults (with masks, localisation too); --baseline multiplies them."""
    texts = list(request.metrics) or [*DEFAULTS[kind]]
    specs: list[Spec] = []
    for text in texts:
        quantity = {"quantity": request.quantity} if request.quantity else {}
        for baseline in request.baselines or (None,):
            extra = {**quantity, **({"baseline": baseline} if baseline else {})}
            spec = parse_spec("evaluate", text, extra)
            if all(str(spec) != str(other) for other in specs):
                specs.append(spec)
    metrics = name_metrics(specs)
    for metric in metrics:
        missing = {
            need for need in metric.needs if need in ("subject", "labels", "attribution", "mask", "clean")
        } - ROOTS[kind]
        if missing:
            known = ", ".join(_fitting(kind))
            raise UsageError(f"'{metric.spec.name}' does not judge a subject of kind {kind}; use {known}.")
    return metrics


def _fitting(kind: str) -> Sequence[str]:
    return (*DEFAULTS[kind], *(WITH_MASKS if kind == "attributions" else ()))
