"""Judging what models remember of their training images: of their canaries, or of those seen against those held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError, UsageError
from xaicli.evaluate.audit import usual_guesses
from xaicli.evaluate.judged import judge_rows
from xaicli.evaluate.membership import FEWEST_MODELS
from xaicli.evaluate.metric import Metric
from xaicli.evaluate.subject import EVERY, Judged, Request, Source
from xaicli.evaluate.trained import Seen, TrainedRows
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import CheckpointMeta, read_checkpoint
from xaicli.files.parents import Parents
from xaicli.run.cases import Case, open_placed, reopen_known
from xaicli.run.inputs import Inputs, match_rows
from xaicli.run.progress import warn
from xaicli.run.selection import choose
from xaicli.run.settings import Settings
from xaicli.train.canaries import Canaries, canaries_in
from xaicli.train.private.accountant import default_delta

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Witness:
    """One checkpoint with the data it was trained on, and its canaries if it has some."""

    checkpoint: Artifact
    meta: CheckpointMeta
    training: Dataset
    canaries: Canaries | None

    @property
    def name(self) -> str:
        """The checkpoint's file."""
        return self.checkpoint.path.name


def judge_trained(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> Iterator[Judged]:
    """Plan the scores of checkpoints on images of their own training, a store for each metric and set of images.

    Raises UsageError for what the checkpoints do not tell, unless all metrics that fit were asked for.
    """
    witnesses: list[Witness] = []
    for metric in metrics:
        try:
            witnesses = witnesses or [_witness(artifact, request, parents, settings) for artifact in artifacts]
            if metric.spec.name == "audit":
                yield from _audits(witnesses, request, metric, settings)
            else:
                yield _membership(witnesses, request, metric, parents, settings)
        except UsageError:
            if EVERY not in request.metrics:
                raise


def _witness(artifact: Artifact, request: Request, parents: Parents, settings: Settings) -> Witness:
    checkpoint = read_checkpoint(artifact.path)
    meta, name = checkpoint.meta, artifact.path.name
    recorded = meta.data_of("train")
    if not recorded:
        raise UsageError(f"'{name}' does not say what data it was trained on, so nobody can ask what it remembers.")
    if request.data is not None:
        named = open_placed(request.data, None, parents, settings).name
        if named != recorded["name"]:
            raise UsageError(f"'{name}' was trained on '{recorded['name']}', not on '{named}'; leave --data out.")
    training = reopen_known(recorded, meta.shape, parents, settings)
    return Witness(artifact, meta, training, canaries_in(checkpoint.tensors, f"'{name}'"))


def _audits(witnesses: Sequence[Witness], request: Request, metric: Metric, settings: Settings) -> Iterator[Judged]:
    """One plan for all checkpoints that have the same canaries."""
    groups: dict[bytes, list[Witness]] = {}
    for one in witnesses:
        if one.canaries is None:
            raise UsageError(
                f"'{one.name}' was trained without canaries, which must be drawn before the training; "
                "train it again with --recipe private:canaries=1000, say."
            )
        groups.setdefault(one.canaries.rows.tobytes() + one.canaries.labels.tobytes(), []).append(one)
    for members in groups.values():
        facts = [_claim(one, metric.spec.options["delta"]) for one in members]
        judged = _judged(members, _canary_rows(members), facts, request, metric, settings)
        m, guesses = len(judged.group.inputs), metric.spec.options["guesses"]
        if int(guesses or usual_guesses(m)) > m:  # type: ignore[arg-type]
            raise UsageError(f"{guesses} guesses cannot be made about {m} canaries; ask for at most {m}.")
        yield judged


def _claim(one: Witness, asked: Any) -> dict[str, Any]:
    """What a checkpoint claims, and the delta of the audit; who is private at some delta is so at a larger one."""
    privacy = one.meta.privacy or {}
    own = privacy.get("delta")
    delta = float(asked or own or default_delta(len(one.training)))
    if own is not None and delta < own:
        raise UsageError(f"'{one.name}' claims nothing at delta={delta:g}, only at {own:g} and more; raise delta.")
    if delta >= 1:
        raise UsageError(f"delta={delta:g} is no probability that a promise may fail with; use one far below 1.")
    return {"epsilon": privacy.get("epsilon"), "delta": delta}


def _membership(
    witnesses: Sequence[Witness], request: Request, metric: Metric, parents: Parents, settings: Settings
) -> Judged:
    """Each checkpoint attacked by the others, where all have canaries, or by one threshold."""
    if len(witnesses) == 1 or any(one.canaries is None for one in witnesses):
        rows = _split_rows(witnesses, parents, settings)
        return _judged(witnesses, rows, [{"rows": "split"}] * len(witnesses), request, metric, settings)
    if len(witnesses) < FEWEST_MODELS:
        raise UsageError(
            f"{len(witnesses)} checkpoints are too few to attack each by the others; "
            f"name at least {FEWEST_MODELS} with canaries of other seeds, or one alone."
        )
    first, *others = (canaries for one in witnesses if (canaries := one.canaries) is not None)
    for one, canaries in zip(witnesses[1:], others, strict=True):
        if not (np.array_equal(canaries.rows, first.rows) and np.array_equal(canaries.labels, first.labels)):
            raise InputError(
                f"'{witnesses[0].name}' and '{one.name}' do not have the same canaries; train them on the same data "
                "with as many canaries, and with other seeds."
            )
    kinds = [(one.meta.arch, (one.meta.recipe or {}), one.meta.epochs) for one in witnesses]
    if any(kind != kinds[0] for kind in kinds):
        warn("the checkpoints were not trained alike, so they tell less of each other than the attack assumes.")
    return _judged(
        witnesses, _canary_rows(witnesses), [{"rows": "canaries"}] * len(witnesses), request, metric, settings
    )


def _canary_rows(witnesses: Sequence[Witness]) -> list[TrainedRows]:
    return [
        TrainedRows(canaries.rows, canaries.labels, canaries.included)
        for one in witnesses
        if (canaries := one.canaries) is not None
    ]


def _split_rows(witnesses: Sequence[Witness], parents: Parents, settings: Settings) -> list[TrainedRows]:
    """The rows that were trained on and those that were held out, less the canaries of any of the checkpoints."""
    first = witnesses[0]
    splits = (reopen_known(first.meta.data_of(split), first.meta.shape, parents, settings) for split in ("fit", "val"))
    fit, val = (split.index for split in splits)
    planted = np.concatenate([one.canaries.rows for one in witnesses if one.canaries is not None] or [fit[:0]])
    index = np.setdiff1d(np.concatenate([fit, val]), planted)
    labels = first.training.labels[np.searchsorted(first.training.index, index)]
    return [TrainedRows(index, labels, np.isin(index, fit)) for _ in witnesses]


def _judged(
    witnesses: Sequence[Witness],
    rows: Sequence[TrainedRows],
    facts: Sequence[dict[str, Any]],
    request: Request,
    metric: Metric,
    settings: Settings,
) -> Judged:
    """The plan of one store; all checkpoints have the same rows."""
    training = witnesses[0].training
    inputs = match_rows(training, rows[0].index, witnesses[0].name)
    chosen = choose(training.name, training.labels[inputs.positions], settings)
    inputs = Inputs(training, inputs.positions[chosen])
    sources = []
    for one in witnesses:
        own = inputs if one.training.digest == training.digest else Inputs(one.training, inputs.positions)
        case = Case(one.checkpoint, one.meta, own, None, one.checkpoint.stem)
        sources.append(Source(case.meta.recipe_name, {}, case, own))
    seen = Seen({one.checkpoint.id: its for one, its in zip(witnesses, rows, strict=True)}, facts)
    return judge_rows(sources, request, [metric], None, settings, seen=seen)
