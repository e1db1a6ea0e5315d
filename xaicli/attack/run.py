"""One attack command: every checkpoint with its rows, every attack a store of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from xaicli.attack.autoattack import protocol_of
from xaicli.attack.figures import figures
from xaicli.attack.library.borrowed import Borrowed
from xaicli.attack.plan import Series
from xaicli.attack.quantise import as_stored
from xaicli.attack.runner import AnyAttack, most_forwards, radii_in, runner
from xaicli.attack.sanity import checks_of, rows_of, sanity
from xaicli.attack.transfer import ATTRIBUTE, judged_by, transfer_columns
from xaicli.attack.trial import Suspect, Trial
from xaicli.attack.verdicts import Verdict, listed, points, to_curve
from xaicli.data.dataset import UNKNOWN
from xaicli.errors import InputError
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import read_meta
from xaicli.files.columns import Column, Status, attack_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.record import Record
from xaicli.files.sources import Sources
from xaicli.methods import Spec
from xaicli.models.load import load_classifier
from xaicli.run.blocks import MAX_FORWARDS, Columns, Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, check_fit, gather_cases
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.job import Job, make_job
from xaicli.run.produce import Compute, Group, Planned, produce
from xaicli.run.progress import warn
from xaicli.run.random import Stream
from xaicli.run.settings import Settings

# Attacks and controls of every size share their draws: comparisons are paired, noise is where PGD starts, and more
# steps or restarts go on from the same points.
STREAM = "attack"
STORAGE = {"float32": "<f4", "uint8": "|u1"}


@dataclass(frozen=True)
class Request:
    """What the user asked of `attack`."""

    sources: Sources
    attacks: Sequence[Spec]
    data: str | None = None
    dtype: str = "float32"
    precision: str = "float32"
    judges: Sequence[Artifact] = ()  # checkpoints that the images are tried on as well
    sanity: bool = False

    def suspect(self, spec: Spec) -> Suspect:
        """An attack as this command runs it."""
        return Suspect.of(spec, partial(runner, bf16=self.precision == "bf16"))

    def checks(self, spec: Spec) -> dict[str, str]:
        """The sanity checks that are asked of it."""
        return checks_of(self.suspect(spec)) if self.sanity else {}


def attack(request: Request, settings: Settings) -> Iterator[Record]:
    """Attack and yield one record per store."""
    parents = Parents(request.sources, settings.parents)
    cases = gather_cases(request.sources, parents, request.data, settings)
    for case in cases:
        for judge in request.judges:
            check_fit(read_meta(judge.path)[0], case.inputs.dataset, judge.path.name)
        if request.dtype == "uint8" and case.inputs.load(0, 1).stored.dtype != np.uint8:
            raise InputError(
                f"the images of '{case.stem}' are no bytes, so --dtype uint8 would lose them; leave it out."
            )
    yield from produce([_group(case, request, settings) for case in cases], settings)


def _group(case: Case, request: Request, settings: Settings) -> Group:
    planned = [_plan(case, spec, request, settings) for spec in request.attacks]

    def ready() -> Compute:
        work = _Work(case, request, settings)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                return {n: work.result(n, rows, planned[n].forwards) for n in wanted}

        return compute

    names = ", ".join(spec.name for spec in request.attacks)
    return Group(case.inputs, planned, ready, f"attack {case.stem} ({names})")


def _plan(case: Case, spec: Spec, request: Request, settings: Settings) -> Planned:
    made: AnyAttack = spec.method.load()(**spec.options)
    forwards = most_forwards(made, case.inputs.dataset.shape, len(case.meta.classes))
    # a call has so many rows however few the block holds: a smaller block would leave them empty
    most = forwards if isinstance(made, Borrowed) else min(forwards, max(MAX_FORWARDS // settings.call_rows, 1))
    block = auto_block(most, settings.block)
    job = _job(case, spec, made, request, settings, block)
    extra = [Column("clean_prediction", "<u2", fill=UNKNOWN)]
    if isinstance(made, Series):
        extra.append(Column("stage", "|u1"))
    if len(radii_in(made)) > 1:
        extra.append(Column("broken_at", "<f4"))
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


def _stages_and_radii(made: AnyAttack, classes: int) -> dict[str, Any]:
    """What the columns `stage` and `broken_at` speak of, and the protocol that a series follows."""
    said: dict[str, Any] = {"radii": list(radii_in(made))} if len(radii_in(made)) > 1 else {}
    if isinstance(made, Series):
        followed = protocol_of(made, classes)
        said |= {"stages": list(made.names), "protocol": {**asdict(followed), "hash": followed.hash}}
    return said


class _Work:
    """The open models of one case."""

    def __init__(self, case: Case, request: Request, settings: Settings) -> None:
        device = prepare(settings)
        self.inputs: Inputs = case.inputs
        self.request, self.seed = request, settings.seed
        self.suspects = [request.suspect(spec) for spec in request.attacks]
        paths = [case.checkpoint.path, *(judge.path for judge in request.judges)]
        self.calls, *self.judges = (
            Calls(load_classifier(path, device=device, arch=settings.arch), batch_size=settings.call_rows)
            for path in paths
        )

    def result(self, number: int, rows: Rows, forwards: int) -> Result:
        """What one of the attacks makes of some rows, and with the first of them the sanity verdicts."""
        suspect, spec = self.suspects[number], self.request.attacks[number]
        columns = self._columns(suspect, rows)
        checks = self.request.checks(spec)
        if not checks:
            return Result(columns)
        first = rows.positions[0] == self.inputs.positions[0]
        verdicts = self._tried(suspect, spec, rows_of(suspect, forwards, len(self.inputs))) if first else None
        status = np.where(rows.status == Status.OK, columns["status"], rows.status)
        return Result(columns, {name: to_curve(verdicts, status, Status.OK, len(checks)) for name in points(checks)})

    def _columns(self, suspect: Suspect, rows: Rows) -> Columns:
        """The store's columns; rows without a true class or with logits that are not finite fail."""
        images, labels, stream = self._asked(rows)
        attack, calls = suspect.attack, self.calls
        done = suspect.begin(attack, calls, stream).run(images, labels)
        if self.request.dtype == "uint8":
            done = as_stored(done, images, labels, attack.norm, attack.eps, calls)
        logits = done.logits.float().cpu().numpy()
        status = np.full(len(rows), Status.OK, dtype=np.uint8)
        status[rows.labels >= logits.shape[1]] = Status.FAILED
        status[~np.isfinite(logits).all(axis=1)] = Status.NON_FINITE
        data = done.images.float().cpu().numpy()
        columns: Columns = {
            "data": np.rint(data * 255).astype(np.uint8) if self.request.dtype == "uint8" else data,
            "prediction": logits,
            "clean_prediction": done.clean_logits.argmax(1).cpu().numpy().astype(np.uint16),
            "success": done.success.cpu().numpy() & (status == Status.OK),
            "distance": done.distance.float().cpu().numpy(),
            "steps": done.steps.cpu().numpy().astype(np.uint32),
            "target": done.target.cpu().numpy().astype(np.uint16),
            "status": status,
            **judged_by(self.judges, images, done.images),
        }
        if isinstance(attack, Series):
            columns["stage"] = done.stage.cpu().numpy()
        if len(radii_in(attack)) > 1:
            columns["broken_at"] = done.broken_at.float().cpu().numpy()
        return columns

    def _tried(self, suspect: Suspect, spec: Spec, count: int) -> list[Verdict]:
        """The verdicts on an attack from the first rows that can be used; a check that fails is said aloud."""
        rows = self.inputs.load(0, count)
        found = sanity(Trial(suspect, self.calls, *self._asked(rows)))
        for (name, means), one in zip(checks_of(suspect).items(), found, strict=True):
            if not one.passed:
                warn(f"the sanity check '{name}' of {spec} FAILED ({one.value:.3g}): {means}")
        return found

    def _asked(self, rows: Rows) -> tuple[torch.Tensor, torch.Tensor, Stream]:
        images = torch.as_tensor(rows.pixels).to(self.calls.device, self.calls.dtype)
        labels = torch.as_tensor(rows.labels).to(self.calls.device)
        return images, labels, Stream(self.seed, STREAM, tuple(int(number) for number in rows.index))
