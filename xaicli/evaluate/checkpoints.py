"""Judging checkpoints on the rows of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from xaicli.data.dataset import Dataset
from xaicli.errors import UsageError
from xaicli.evaluate.held_out import held_out
from xaicli.evaluate.judged import judge_rows
from xaicli.evaluate.metric import Metric
from xaicli.evaluate.neighbours import TrainingRows, read_pieces
from xaicli.evaluate.open_rows import OpenRows, open_rows
from xaicli.evaluate.refusals import Refusals
from xaicli.evaluate.subject import EVERY, Judged, Request, Source
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import read_meta
from xaicli.files.parents import Parents
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, gather_cases, reopen_known
from xaicli.run.features import Training, compute_training
from xaicli.run.settings import Settings


def usual(artifacts: Sequence[Artifact], unknown: Sequence[str]) -> tuple[str, ...]:
    """The metrics of checkpoints unless some are named: those that all of them have."""
    metas = [read_meta(artifact.path)[0] for artifact in artifacts]
    added = {
        "selective": all(meta.rejection is not None for meta in metas),
        "uncertainty": all(meta.posterior is not None for meta in metas),
        "open-set": bool(unknown) or all((meta.data or {}).get("known") for meta in metas),
    }
    return ("accuracy", "calibration", *(name for name, has_it in added.items() if has_it))


def judge_models(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> list[Judged]:
    """Plan the scores of checkpoints on the same rows of a data set; those that know other classes of it apart."""
    opening = any(metric.is_open for metric in metrics)
    if request.unknown and not opening:
        raise UsageError("none of the metrics looks at unknown rows; leave --unknown out, or add -k open-set.")
    groups: dict[tuple[int, ...], list[Case]] = {}
    for case in gather_cases(request.sources, parents, request.data, settings, known_only=not opening):
        groups.setdefault(case.inputs.dataset.known, []).append(case)
    return [_judge_alike(cases, request, metrics, opening, parents, settings) for cases in groups.values()]


def _judge_alike(
    cases: Sequence[Case],
    request: Request,
    metrics: Sequence[Metric],
    opening: bool,
    parents: Parents,
    settings: Settings,
) -> Judged:
    """The plan of checkpoints that know the same classes."""
    if opening:
        rows = {case.checkpoint.id: open_rows(case, request.unknown, parents, settings) for case in cases}
        cases = [replace(case, inputs=rows[case.checkpoint.id].inputs) for case in cases]
    else:
        rows = {}
    asked = [(metric, [_missing(metric, case, rows.get(case.checkpoint.id)) for case in cases]) for metric in metrics]
    if EVERY not in request.metrics and (reason := next((one for _, why in asked for one in why if one), None)):
        raise UsageError(reason)
    metrics = [metric for metric, why in asked if not any(why)]
    sources = [Source(case.meta.recipe_name, {}, case, case.inputs) for case in cases]
    if EVERY in request.metrics and not all(case.meta.data_of("train") for case in cases):
        metrics = [metric for metric in metrics if "training" not in metric.needs]
    wanted = any("held_out" in metric.needs for metric in metrics)
    held = {case.checkpoint.id: held_out(case, parents, settings) for case in cases} if wanted else {}
    return judge_rows(
        sources,
        request,
        metrics,
        None,
        settings,
        lambda case: _training_rows(case, parents, settings),
        held=held,
        unknown=Refusals(rows, parents, settings) if opening else None,
    )


def _missing(metric: Metric, case: Case, rows: OpenRows | None) -> str | None:
    """Why a metric says nothing about a checkpoint; None if it does."""
    name, file = metric.spec.name, case.checkpoint.path.name
    clusters_unknown = metric.spec.options.get("rows") == "unknown"
    if (name == "open-set" or clusters_unknown) and rows is not None and not rows.unknown:
        return f"'{file}' knows all classes of '{rows.inputs.dataset.name}'; name what it does not know with --unknown."
    if name == "uncertainty" and case.meta.posterior is None:
        return f"'{file}' is one network and has no uncertainty; train it by bayesian, mc-dropout or ensemble."
    if name == "clustering" and case.meta.rejection is None and not clusters_unknown:
        return f"'{file}' refuses nothing that could be clustered; train it with --known or --detector."
    if name == "clustering" and (case.meta.posterior or {}).get("kind") == "ensemble":
        return f"the networks of '{file}' have no features in common to cluster by; leave clustering out."
    return None


def _training_rows(case: Case, parents: Parents, settings: Settings) -> TrainingRows:
    """What a checkpoint was trained on, opened when it is first needed."""
    recorded, dataset = case.meta.data_of("train"), case.inputs.dataset
    if not recorded:
        raise UsageError(
            f"'{case.checkpoint.path.name}' does not say what data it was trained on, so it has no neighbours there; "
            "leave class-consistency out."
        )

    @cache
    def training() -> Dataset:
        return reopen_known(recorded, case.meta.shape, parents, settings)

    @cache
    def features(calls: Calls) -> Training:
        return compute_training(training(), calls)

    numbered = dataset.name == recorded["name"] and dataset.split != "test"
    return TrainingRows(lambda: read_pieces(training()), features, numbered)
