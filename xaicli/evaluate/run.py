"""One evaluate command: the most derived kind among the sources is the subject, the rest are its parents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xaicli.errors import UsageError
from xaicli.evaluate.attacked import judge_images
from xaicli.evaluate.checkpoints import judge_models
from xaicli.evaluate.checkpoints import usual as usual_of_models
from xaicli.evaluate.generated import CARD, judge_generated, usual
from xaicli.evaluate.maps import judge_maps
from xaicli.evaluate.metric import Metric, name_metrics
from xaicli.evaluate.queries import EVALUATE, OF_UNKNOWN_ROWS
from xaicli.evaluate.records import metric_records
from xaicli.evaluate.sources import explains_refusal
from xaicli.evaluate.splits import Split, over_splits
from xaicli.evaluate.subject import EVERY, Judged, Request
from xaicli.evaluate.told import told
from xaicli.evaluate.witnesses import judge_trained
from xaicli.files.artifact import Artifact
from xaicli.files.parents import Parents
from xaicli.files.record import MAP_KINDS, Record
from xaicli.files.store import Store, open_store
from xaicli.methods import names
from xaicli.run.plan import STREAM
from xaicli.run.produce import produce
from xaicli.run.settings import Settings
from xaicli.specs import Spec, parse_spec

DEFAULTS = {
    "checkpoint": ("accuracy", "calibration"),
    "images": ("robust-accuracy", "perturbation"),
    "generated images": CARD,
    "attributions": ("deletion", "insertion", "average-drop", "increase-in-confidence"),
}
ROOTS = {
    "checkpoint": {"subject", "labels", "training", "trained", "held_out"} | OF_UNKNOWN_ROWS,
    "images": {"subject", "labels", "clean"},
    "generated images": {"subject", "labels", "clean", "judge", "company", "reached", "best"},
    "attributions": {"subject", "labels", "attribution", "signed", "mask", "explainers", "explainer", "other"},
}
OF_REFUSALS = ("aopc", "abpc")
OF_ATTACKS = ("robust-accuracy",)  # what they say is true of attacked images alone
OF_GENERATION = ("target-accuracy",)  # and of generated ones
MAPS = {"attribution", "signed", "explainers", "other"}
FEW = 5  # names that an error lists
ORDER = ("scores", "attributions", "images", "checkpoint")
KINDS = {kind: (kind,) for kind in ORDER} | {"attributions": MAP_KINDS}
"""What counts as a subject of each kind; other kinds of stores are left to those who can use them."""


def evaluate(request: Request, settings: Settings) -> Iterator[Record]:
    """Evaluate and yield the record of the scores store and one record per aggregate."""
    kind = next((kind for kind in ORDER if request.sources.of_kind(*KINDS[kind])), None)
    if kind is None:
        found = " and ".join(sorted({artifact.kind for artifact in request.sources.artifacts})) or "nothing"
        raise UsageError(
            f"no metric judges {found}; name a checkpoint or a store of images, attributions, influence or scores."
        )
    subjects = request.sources.of_kind(*KINDS[kind])
    if request.unknown and kind != "checkpoint":
        raise UsageError(f"--unknown is for judging checkpoints, and these are a subject of kind {kind}; leave it out.")
    if kind == "scores":
        splits = []
        for artifact in subjects:
            splits.append(_again(artifact, request))
            yield from told(splits[-1].records)
        yield from over_splits(splits)
        return
    if request.judge is not None and not _generated(subjects):
        raise UsageError("--judge is for judging generated images, and there are none; leave it out.")
    if request.masks is not None and kind != "attributions":
        raise UsageError(f"--masks is for judging attributions, and these are a subject of kind {kind}; leave it out.")
    parents = Parents(request.sources, settings.parents)
    if kind == "attributions":
        metrics = _metrics(kind, request, OF_REFUSALS if all(map(explains_refusal, subjects)) else ())
        judged = [judge_maps(subjects, request, metrics, parents, settings)]
    elif _generated(subjects):
        metrics = _metrics("generated images", request, usual(subjects))
        judged = [judge_generated(subjects, request, metrics, parents, settings)]
    elif kind == "images":
        judged = [judge_images(subjects, request, _metrics(kind, request), parents, settings)]
    else:
        metrics = _metrics(kind, request, usual_of_models(subjects, request.unknown))
        judged = _models(subjects, request, metrics, parents, settings)
    yield from _finish(judged, settings)


def _generated(subjects: Sequence[Artifact]) -> bool:
    return all(artifact.kind == "images" and artifact.job.get("verb") == "generate" for artifact in subjects)


def _models(
    subjects: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> list[Judged]:
    """Models on the data they are asked about, and on images of their trainings where metrics are about those."""
    trained = [metric for metric in metrics if "trained" in metric.needs]
    others = [metric for metric in metrics if metric not in trained]
    usual = judge_models(subjects, request, others, parents, settings) if others else []
    return [*usual, *judge_trained(subjects, request, trained, parents, settings)]


def _finish(judged: Sequence[Judged], settings: Settings) -> Iterator[Record]:
    left = iter(judged)
    splits = []
    for record in produce([one.group for one in judged], settings):
        yield record
        if record["kind"] == "scores":
            with open_store(record["path"]) as store:
                splits.append(_split(store, list(metric_records(store, next(left).parents, record))))
            yield from told(splits[-1].records)
    yield from over_splits(splits)


def _split(store: Store, records: Sequence[Record]) -> Split:
    data = store.job["parents"].get("data") or {}
    return Split(tuple(data.get("known", ())), records)


def _again(artifact: Artifact, request: Request) -> Split:
    """The aggregates of a scores store, once more; parents have the paths of those that are given beside it."""
    given = {source.id: str(source.path) for source in request.sources.artifacts}
    with open_store(artifact.path) as store:
        store.verify()
        parents = [
            {role: {**parent, **_path(given.get(parent["id"]))} for role, parent in source["parents"].items()}
            for source in store.sources
        ]
        return _split(store, list(metric_records(store, parents, {"id": store.id, "path": str(artifact.path)})))


def _path(path: str | None) -> dict[str, str]:
    return {"path": path} if path else {}


def _metrics(kind: str, request: Request, usual: Sequence[str] = ()) -> list[Metric]:
    """The metrics asked for, or the usual ones, or the kind's defaults; --baseline multiplies them."""
    specs: list[Spec] = []
    for text in _texts(kind, request, usual):
        quantity = {"quantity": request.quantity} if request.quantity else {}
        for baseline in request.baselines or (None,):
            extra = {**quantity, **({"baseline": baseline} if baseline else {})}
            spec = parse_spec("evaluate", text, extra)
            if all(str(spec) != str(other) for other in specs):
                specs.append(spec)
    for option, given in (("baseline", request.baselines), ("quantity", request.quantity)):
        if given and not any(option in spec.options for spec in specs):
            raise UsageError(f"none of the metrics has a {option}; leave --{option} out.")
    metrics = name_metrics(specs)
    for metric in metrics:
        if not _fits(metric, kind):
            fitting = _fitting(kind)
            known = ", ".join(fitting) if len(fitting) < FEW else f"{', '.join(DEFAULTS[kind])} or another one"
            raise UsageError(f"'{metric.spec.name}' does not judge a subject of kind {kind}; use {known}.")
    return metrics


def _texts(kind: str, request: Request, usual: Sequence[str]) -> list[str]:
    """The specifications as if all were written out."""
    texts: list[str] = []
    for text in request.metrics or usual or DEFAULTS[kind]:
        if text != EVERY:
            texts.append(text)
            continue
        named = {parse_spec("evaluate", other).name for other in request.metrics if other != EVERY}
        texts += [name for name in _fitting(kind) if name not in named and _looks_at(_metric(name), kind)]
    return texts


def _fits(metric: Metric, kind: str) -> bool:
    """Whether a subject of this kind tells all that a metric needs to know."""
    if metric.spec.name in OF_ATTACKS and kind != "images":
        return False
    if metric.spec.name in OF_GENERATION and kind != "generated images":
        return False
    return {need for need in metric.needs if need in EVALUATE.roots - {STREAM}} <= ROOTS[kind]


def _fitting(kind: str) -> list[str]:
    """The names of all metrics that judge this kind of subject."""
    return [name for name in names("evaluate") if _fits(_metric(name), kind)]


def _looks_at(metric: Metric, kind: str) -> bool:
    """Whether a metric says something about the subject itself: of maps, the model's accuracy does not."""
    return kind != "attributions" or not MAPS.isdisjoint(metric.needs)


def _metric(name: str) -> Metric:
    return Metric(parse_spec("evaluate", name), name)
