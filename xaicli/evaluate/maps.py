"""Judging attributions: several explainers on the same rows, their controls beside them, one plan for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from xaicli.errors import InputError, UnavailableError, UsageError, XaicliError
from xaicli.evaluate.aggregate import summarise_scores
from xaicli.evaluate.forecast import forecast
from xaicli.evaluate.layout import scores_layout
from xaicli.evaluate.map_scorer import Key, MapScorer
from xaicli.evaluate.metric import Metric, name_metrics, title, used_quantity
from xaicli.evaluate.object_masks import find_masks
from xaicli.evaluate.reduce import REDUCTIONS
from xaicli.evaluate.sources import Source, common_index, find_sources, open_rows
from xaicli.evaluate.subject import EVERY, Judged, Request
from xaicli.explain.background import Background, background_of
from xaicli.explain.model import example
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import read_meta
from xaicli.files.parents import Parents
from xaicli.models.classifier import Classifier
from xaicli.run.blocks import Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, open_placed
from xaicli.run.device import memory_guard
from xaicli.run.inputs import Rows, match_rows
from xaicli.run.job import make_job
from xaicli.run.produce import Compute, Group, Planned
from xaicli.run.selection import choose
from xaicli.run.settings import Settings
from xaicli.specs import parse_spec

WITH_MASKS = ("pointing-game", "relevance-mass")
OTHER_MODELS = {"randomisation", "shifted_changes"}  # queries that change the model's weights


def judge_maps(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> Judged:
    """Plan the scores of all explainers on the rows that all stores hold."""
    if request.reduce not in REDUCTIONS:
        raise UsageError(f"--reduce '{request.reduce}' is unknown; use one of {', '.join(REDUCTIONS)}.")
    first = artifacts[0]
    if request.data is not None:
        named = open_placed(request.data, None, parents, settings).name
        recorded = dict(first.parents.get("data") or {}).get("name")
        if named != recorded:
            raise UsageError(f"'{first.path.name}' explains rows of '{recorded}', not of '{named}'; leave --data out.")
    sources = find_sources(artifacts, parents)
    metrics = _fit_to_models(metrics, request, sources)
    index = common_index(sources)
    dataset, original = open_rows(first, parents, settings)
    chosen = choose(
        original.name if original else dataset.name, sources[0].store.column("label").astype(np.int64), settings
    )
    inputs = match_rows(dataset, index[chosen], first.path.name)
    masks = find_masks(request.masks, original, dataset)
    metrics = _fit_to_masks(metrics, request, masks is not None)
    if EVERY in request.metrics and not all(source.is_known for source in sources):
        metrics = [metric for metric in metrics if "explainers" not in metric.needs]
    size = dataset.height * dataset.width
    forwards = forecast(
        metrics, sources, size, lambda one: one.asked(request.reduce, settings.seed), _network(settings)
    )
    block = auto_block(forwards, settings.block)
    documents = [source.document for source in sources]
    job = make_job(
        "evaluate",
        None,
        {"attributions": [artifact.id for artifact in artifacts], "masks": masks.digest if masks else None},
        settings,
        block=block,
        extra={"metrics": [[metric.spec.name, metric.spec.record] for metric in metrics], "reduce": request.reduce},
    )
    job = replace(job, suffix=job.suffix or bool(request.metrics) or len(artifacts) > 1)
    layout = scores_layout(job, first.history, inputs, block, metrics, documents, size, dataset.classes)

    def ready() -> Compute:
        def background(source: Source, calls: Calls) -> Background:
            case = Case(source.checkpoint, read_meta(source.checkpoint.path)[0], inputs, None, "")
            return background_of(case, parents, settings, calls)

        work = MapScorer(sources, metrics, masks, settings, request.reduce, background)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                columns, curves = work.score(rows)
            return {0: Result(columns, curves)}

        return compute

    plan = Planned(
        job,
        f"{_stem(first)}.scores",
        layout,
        forwards,
        {"attributions": [source.parents["attributions"] for source in sources if source.control is None]},
        summarise=summarise_scores,
    )
    return Judged(Group(inputs, [plan], ready, f"evaluate ({title(metrics)})"), [source.parents for source in sources])


def _network(settings: Settings) -> Callable[[Source], Classifier]:
    """Loads a source's model on the CPU, once, for what only it knows."""
    known: dict[Key, Classifier] = {}

    def load(source: Source) -> Classifier:
        if source.model not in known:
            known[source.model] = example(source.checkpoint.path, settings, source.question)
        return known[source.model]

    return load


def _fit_to_models(metrics: Sequence[Metric], request: Request, sources: Sequence[Source]) -> list[Metric]:
    """The metrics that make sense for what is explained; an error for one that does not, unless all were asked for."""
    refusals = {source.question.refusal for source in sources}
    if len(refusals) > 1:
        raise UsageError("some of these stores explain refusals and others classes; judge them in two commands.")
    unfit: dict[str, XaicliError] = {}
    for metric in metrics:
        name, quantity = metric.spec.name, used_quantity(metric)
        if any(refusals) and quantity not in (None, "logit"):
            unfit[metric.label] = UsageError(
                f"'{name}' looks at a {quantity}, which a refusal does not have; use quantity=logit, or leave it out."
            )
        if any(source.question.averages for source in sources) and not OTHER_MODELS.isdisjoint(metric.needs):
            unfit[metric.label] = UnavailableError(
                f"'{name}' asks a changed model, which the draws of an uncertain one are not; explain with draws=0, or "
                "leave it out."
            )
    if unfit and EVERY not in request.metrics:
        raise next(iter(unfit.values()))
    return [metric for metric in metrics if metric.label not in unfit]


def _stem(artifact: Artifact) -> str:
    """The name of what was explained: the store's own name without its method."""
    stem, dot, _ = artifact.stem.rpartition(".")
    return stem if dot else artifact.stem


def _fit_to_masks(metrics: Sequence[Metric], request: Request, has_masks: bool) -> list[Metric]:
    """With masks and no metric named, localisation is judged too; without masks it cannot be."""
    needing = [metric for metric in metrics if "mask" in metric.needs]
    if needing and not has_masks:
        if EVERY not in request.metrics:
            raise InputError(
                f"'{needing[0].spec.name}' needs object masks, which this data does not have; "
                "give them with --masks FILE, or leave it out."
            )
        return [metric for metric in metrics if metric not in needing]
    if has_masks and not request.metrics:
        return [*metrics, *name_metrics([parse_spec("evaluate", name) for name in WITH_MASKS])]
    return list(metrics)
