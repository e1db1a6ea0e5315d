"""Judging generated images: the report card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from xaicli.data.cut import cut
from xaicli.data.dataset import Dataset
from xaicli.errors import InputError, UsageError
from xaicli.evaluate.companions import Companions, Sets
from xaicli.evaluate.gallery import Gallery, Positions, drawn_alike
from xaicli.evaluate.given import given_to
from xaicli.evaluate.judged import judge_rows
from xaicli.evaluate.made import kinds, stored, targets
from xaicli.evaluate.metric import Metric
from xaicli.evaluate.subject import EVERY, Judged, Request, Source
from xaicli.files.artifact import Artifact, identify
from xaicli.files.checkpoint import read_meta
from xaicli.files.parents import Parents
from xaicli.files.sources import Sources
from xaicli.run.cases import Case, check_fit, describe_data, gather_cases, reopen_known
from xaicli.run.settings import Settings

CARD = (
    "target-accuracy",
    "judge-accuracy",
    "judge-accuracy-floor",
    "frechet-distance",
    "kernel-distance",
    "diversity",
    "nearest-training-image",
)
CARDS = {
    "inversion": ("relative-loss", "perceptual-distance", "perturbation", "judge-accuracy"),
    "counterfactual": ("target-accuracy", "judge-accuracy", "perturbation"),
    "feature-visualisation": ("activation", "judge-accuracy", "diversity", "nearest-training-image"),
}
"""What is judged unless metrics are named: of these generators, and of every other one."""
COMPARED = {"company", "clean"}  # roots that need data beside the images


def usual(artifacts: Sequence[Artifact]) -> tuple[str, ...]:
    """The metrics of the report card that all of these stores have."""
    cards = [CARDS.get(str(artifact.job.get("method")), CARD) for artifact in artifacts]
    return tuple(name for name in cards[0] if all(name in card for card in cards))


def judge_generated(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> Judged:
    """Plan the scores of generated images under their own checkpoints, and under another one if there is one."""
    cases = gather_cases(Sources(list(artifacts), request.sources.hints), parents, request.data, settings)
    judge = _judge(request, {case.checkpoint.id for case in cases})
    if judge is not None:
        meta, _ = read_meta(judge.path)
        for case in cases:
            check_fit(meta, case.inputs.dataset, judge.path.name)
    metrics = _possible(metrics, request, judge, cases)
    needs = {need for metric in metrics for need in metric.needs}
    if not needs.isdisjoint(COMPARED):
        splits = _Splits(parents, settings)
        beside = {stored(case).digest: _beside(case, splits, parents, settings) for case in cases}
        facts = [{"features": (judge or case.checkpoint).id, **beside[stored(case).digest].facts} for case in cases]
    else:
        beside, facts = {}, [{} for _ in cases]
    sources = [_source(case, judge) for case in cases]
    companions = Companions(judge, beside, facts, settings, clean="clean" in needs)
    return judge_rows(sources, request, metrics, None, settings, companions=companions)


def _source(case: Case, judge: Artifact | None) -> Source:
    job: dict[str, Any] = stored(case).store.job
    return Source(str(job["method"]), job["options"], case, case.inputs, judge=judge)


def _judge(request: Request, own: set[str]) -> Artifact | None:
    """The checkpoint of --judge, or the one among the SOURCEs that made none of the images."""
    others = [artifact for artifact in request.sources.of_kind("checkpoint") if artifact.id not in own]
    if request.judge is not None:
        named = identify(request.judge)
        if named.kind != "checkpoint":
            raise InputError(f"--judge '{request.judge}' holds {named.kind}; name a checkpoint.")
        others = [*(other for other in others if other.id != named.id), named]
    if len(others) > 1:
        names = " and ".join(f"'{other.path.name}'" for other in others)
        raise UsageError(f"{names} made none of these images, and there is one judge; leave the others out.")
    if others and others[0].id in own:
        raise UsageError(f"'{others[0].path.name}' made some of these images; name another checkpoint as their judge.")
    return others[0] if others else None


def _possible(
    metrics: Sequence[Metric], request: Request, judge: Artifact | None, cases: Sequence[Case]
) -> list[Metric]:
    """The metrics that can be computed; UsageError for one that was asked for by name and cannot."""
    reasons = [_missing(metric, judge, cases) for metric in metrics]
    if request.metrics and EVERY not in request.metrics and (reason := next(filter(None, reasons), None)):
        raise UsageError(reason)
    return [metric for metric, reason in zip(metrics, reasons, strict=True) if reason is None]


def _missing(metric: Metric, judge: Artifact | None, cases: Sequence[Case]) -> str | None:
    """Why a metric cannot be computed."""
    needs, name = {*metric.needs}, metric.spec.name
    if "judge" in needs and judge is None:
        return f"'{name}' asks a checkpoint that did not make the images; name one with --judge."
    nameless = next((case.checkpoint.path.name for case in cases if not case.meta.data_of("train")), None)
    if nameless is not None and not needs.isdisjoint(COMPARED):
        return f"'{nameless}' does not say what data it was trained on, to compare with; leave {name} out."
    metas = [read_meta(judge.path)[0]] if judge is not None else [case.meta for case in cases]
    if "company" in needs and any((meta.posterior or {}).get("kind") == "ensemble" for meta in metas):
        return f"an ensemble has no features of its own for {name} to measure in; name one network with --judge."
    made = {str(stored(case).store.job["method"]) for case in cases}
    if "reached" in needs and any(name not in CARDS.get(one, ()) for one in made):
        return f"'{name}' judges what another generator makes than {' and '.join(sorted(made))}; leave it out."
    return None


class _Splits:
    """The data of trainings, each split opened once for all stores."""

    def __init__(self, parents: Parents, settings: Settings) -> None:
        self.parents, self.settings = parents, settings
        self.known: dict[str, Dataset] = {}

    def open(self, case: Case, split: str) -> Dataset:
        """A split of what a checkpoint was trained on."""
        recorded = case.meta.data_of(split)
        key = f"{sorted(recorded.items())} {case.meta.shape}"
        if key not in self.known:
            self.known[key] = reopen_known(recorded, case.meta.shape, self.parents, self.settings)
        return self.known[key]

    def of_classes(self, dataset: Dataset, classes: Positions) -> Dataset:
        """The rows of a split that have one of these classes; all of them where the images have none."""
        own = np.unique(classes[classes < len(dataset.classes)])
        key = f"{id(dataset)} {own.tolist()}"
        if key not in self.known:
            chosen = np.isin(dataset.labels, own) if len(own) else np.ones(len(dataset), dtype=bool)
            self.known[key] = cut(dataset, np.flatnonzero(chosen), dataset.labels)
        return self.known[key]


def _beside(case: Case, splits: _Splits, parents: Parents, settings: Settings) -> Sets:
    """Real images come from the test split, which no seed was fitted on; copies are drawn from the training split."""
    images, inputs = stored(case), case.inputs
    classes = targets(images)[inputs.positions]
    training, test = splits.open(case, "train"), splits.of_classes(splits.open(case, "test"), classes)
    if not len(test):
        raise InputError(f"the test data of '{case.checkpoint.path.name}' has no image of these classes; make others.")
    return Sets(
        {
            "made": Gallery(images, inputs.positions),
            "given": given_to(case, images, parents, settings),
            "real": drawn_alike(test, classes, settings.seed),
            "copies": drawn_alike(training, classes, settings.seed),
        },
        {"test": test, "training": training},
        torch.as_tensor(kinds(images)[inputs.positions]),
        {"real": {**describe_data(test), "rows": len(test)}, "training": describe_data(training)},
    )
