"""One attack command: every checkpoint with its rows, every attack a store of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xaicli.attack.engine import Engine
from xaicli.attack.figures import figures
from xaicli.attack.plan import Attack
from xaicli.data.dataset import UNKNOWN
from xaicli.files.columns import Column, Status, attack_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.record import Record
from xaicli.files.sources import Sources
from xaicli.methods import Spec
from xaicli.models.load import load_classifier
from xaicli.run.blocks import Columns, Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, gather_cases
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Rows
from xaicli.run.job import make_job
from xaicli.run.produce import Compute, Group, Planned, produce
from xaicli.run.random import Stream
from xaicli.run.settings import Settings

# Attacks and controls of every size share their draws: comparisons are paired, noise is where PGD starts, and more
# steps or restarts go on from the same points.
STREAM = "attack"


@dataclass(frozen=True)
class Request:
    """What the user asked of `attack`."""

    sources: Sources
    attacks: Sequence[Spec]
    data: str | None = None


def attack(request: Request, settings: Settings) -> Iterator[Record]:
    """Attack and yield one record per store."""
    parents = Parents(request.sources, settings.parents)
    cases = gather_cases(request.sources, parents, request.data, settings)
    yield from produce([_group(case, request, settings) for case in cases], settings)


def _group(case: Case, request: Request, settings: Settings) -> Group:
    attacks: list[Attack] = [spec.method.load()(**spec.options) for spec in request.attacks]
    planned = [_plan(case, spec, attack, settings) for spec, attack in zip(request.attacks, attacks, strict=True)]

    def ready() -> Compute:
        device = prepare(settings)
        calls = Calls(
            load_classifier(case.checkpoint.path, device=device, arch=settings.arch), batch_size=settings.call_rows
        )

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                return {n: Result(attack_rows(attacks[n], rows, calls, settings.seed)) for n in wanted}

        return compute

    names = ", ".join(spec.name for spec in request.attacks)
    return Group(case.inputs, planned, ready, f"attack {case.stem} ({names})")


def _plan(case: Case, spec: Spec, attack: Attack, settings: Settings) -> Planned:
    forwards = 1 + (attack.steps + 1) * attack.restarts
    block = auto_block(forwards, settings.block)
    job = make_job("attack", spec, case.job_parents, settings, block=block)
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
            extra=(Column("clean_prediction", "<u2", fill=UNKNOWN),),
        ),
        attributes={
            "classes": list(case.meta.classes),
            "threat": {"norm": attack.norm, "eps": attack.eps},
            "forwards": forwards,
        },
    )
    return Planned(job, f"{case.stem}.{spec.name}", layout, forwards, case.record_parents, metrics=figures)


def attack_rows(attack: Attack, rows: Rows, calls: Calls, seed: int) -> Columns:
    """The store's columns for some rows; rows without a true class or with logits that are not finite fail."""
    images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
    labels = torch.as_tensor(rows.labels).to(calls.device)
    index = tuple(int(number) for number in rows.index)
    done = Engine(attack, calls, Stream(seed, STREAM, index)).run(images, labels)
    logits = done.logits.float().cpu().numpy()
    status = np.full(len(rows), Status.OK, dtype=np.uint8)
    status[rows.labels >= logits.shape[1]] = Status.FAILED
    status[~np.isfinite(logits).all(axis=1)] = Status.NON_FINITE
    return {
        "data": done.images.float().cpu().numpy(),
        "prediction": logits,
        "clean_prediction": done.clean_logits.argmax(1).cpu().numpy().astype(np.uint16),
        "success": done.success.cpu().numpy() & (status == Status.OK),
        "distance": done.distance.float().cpu().numpy(),
        "steps": done.steps.cpu().numpy().astype(np.uint32),
        "target": done.target.cpu().numpy().astype(np.uint16),
        "status": status,
    }
