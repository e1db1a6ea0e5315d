"""One attack command: every checkpoint with its rows, every attack a store of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from xaicli.attack.autoattack import protocol_of
from xaicli.attack.figures import figures
from xaicli.attack.judging import draws_of, judge_columns, judge_forwards
from xaicli.attack.library.borrowed import Borrowed
from xaicli.attack.plan import Series
from xaicli.attack.runner import AnyAttack, most_forwards, radii_in
from xaicli.attack.transfer import ATTRIBUTE, transfer_columns
from xaicli.attack.verdicts import listed, points
from xaicli.attack.work import Request as Request
from xaicli.attack.work import Work
from xaicli.data.dataset import UNKNOWN
from xaicli.errors import InputError
from xaicli.files.checkpoint import read_meta
from xaicli.files.columns import Column, attack_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.record import Record
from xaicli.run.blocks import MAX_FORWARDS, Result, auto_block
from xaicli.run.cases import Case, check_fit, gather_cases
from xaicli.run.device import memory_guard
from xaicli.run.inputs import Rows
from xaicli.run.job import Job, make_job
from xaicli.run.posterior import usual_draws
from xaicli.run.produce import Compute, Group, Planned, produce
from xaicli.run.settings import Settings
from xaicli.specs import Spec

STORAGE = {"float32": "<f4", "uint8": "|u1"}


def attack(request: Request, settings: Settings) -> Iterator[Record]:
    """Attack and yield one record per store."""
    parents = Parents(request.sources, settings.parents)
    cases = gather_cases(request.sources, parents, request.data, settings, known_only=True)
    for case in cases:
        for judge in request.judges:
            check_fit(read_meta(judge.path)[0], case.inputs.dataset, judge.path.name)
        if request.dtype == "uint8" and case.inputs.load(0, 1).stored.dtype != np.uint8:
            raise InputError(
                f"the images of '{case.stem}' are no bytes, so --dtype uint8 would lose them; leave it out."
            )
    yield from produce([_group(case, request, settings) for case in cases], settings)


def _group(case: Case, request: Request, settings: Settings) -> Group:
    name, usual = case.checkpoint.path.name, usual_draws(case.meta)
    attacks = [spec.drawn(usual, name) for spec in request.attacks]
    planned = [_plan(case, spec, request, settings) for spec in attacks]

    def ready() -> Compute:
        work = Work(case, attacks, request, settings)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                return {n: work.result(n, rows, planned[n].forwards) for n in wanted}

        return compute

    names = ", ".join(spec.name for spec in request.attacks)
    return Group(case.inputs, planned, ready, f"attack {case.stem} ({names})")


def _plan(case: Case, spec: Spec, request: Request, settings: Settings) -> Planned:
    made: AnyAttack = spec.method.load()(**spec.options)
    draws = draws_of(case.meta, spec)
    forwards = most_forwards(made, case.inputs.dataset.shape, len(case.meta.classes)) * max(draws or 0, 1)
    forwards += judge_forwards(case.meta, draws)
    # a call has so many rows however few the block holds: a smaller block would leave them empty
    most = forwards if isinstance(made, Borrowed) else min(forwards, max(MAX_FORWARDS // settings.call_rows, 1))
    block = auto_block(most, settings.block)
    job = _job(case, spec, made, request, settings, block)
    extra = [Column("clean_prediction", "<u2", fill=UNKNOWN)]
    if isinstance(made, Series):
        extra.append(Column("stage", "|u1"))
    if len(radii_in(made)) > 1:
        extra.append(Column("broken_at", "<f4"))
    extra += judge_columns(case.meta, draws)
    checks = request.checks(spec)
    layout = StoreLayout(
        kind="images",
        job=job.document,
        history=(*case.lineage, job.document),
        rows=len(case.inputs),
        block=block,
        columns=attack_columns(
            shape=case.inputs.dataset.shape,
            classes=len(case.meta.classes),
            key_length=case.inputs.longest_key,
            dtype=STORAGE[request.dtype],
            extra=(*extra, *transfer_columns(len(request.judges))),
        ),
        curves=points(checks),
        attributes={
            "classes": list(case.meta.classes),
            "threat": {"norm": made.norm, "eps": made.eps},
            "forwards": forwards,
            **_stages_and_radii(made, len(case.meta.classes)),
            **listed(checks),
            **_detector(case),
            **({ATTRIBUTE: [judge.id for judge in request.judges]} if request.judges else {}),
        },
    )
    shown = dict(case.record_parents)
    if request.judges:
        shown[ATTRIBUTE] = [{"id": judge.id, "path": str(judge.path)} for judge in request.judges]
    return Planned(job, f"{case.stem}.{spec.name}", layout, forwards, shown, metrics=figures)


def _job(case: Case, spec: Spec, made: AnyAttack, request: Request, settings: Settings, block: int) -> Job:
    """What the images depend on; what was not asked for is not in it, so that older jobs keep their ids."""
    asked: dict[str, Any] = {"dtype": request.dtype}
    if request.precision != "float32":
        asked["precision"] = request.precision
    if request.judges:
        asked[ATTRIBUTE] = [judge.id for judge in request.judges]
    if request.sanity:
        asked["sanity"] = True
    return make_job(
        "attack",
        spec,
        case.job_parents,
        settings,
        block=block,
        extra=asked,
        defaults={"dtype": "float32", "precision": None, ATTRIBUTE: None, "sanity": None},
        libraries=("torchattacks",) if isinstance(made, Borrowed) else (),
    )


def _detector(case: Case) -> dict[str, Any]:
    """By what and below which score the columns about refusals call a row UNKNOWN."""
    stored = case.meta.rejection
    return {} if stored is None else {"rejection": {key: stored.get(key) for key in ("detector", "threshold")}}


def _stages_and_radii(made: AnyAttack, classes: int) -> dict[str, Any]:
    """What the columns `stage` and `broken_at` speak of, and the protocol that a series follows."""
    said: dict[str, Any] = {"radii": list(radii_in(made))} if len(radii_in(made)) > 1 else {}
    if isinstance(made, Series):
        followed = protocol_of(made, classes)
        said |= {"stages": list(made.names), "protocol": {**asdict(followed), "hash": followed.hash}}
    return said
