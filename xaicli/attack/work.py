"""What was asked of an attack command, and the open models that do it: columns of some rows, and sanity verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from xaicli.attack.judging import FRESH, Opened, as_attacked, by_judge, draws_of, refusals
from xaicli.attack.outward import outward
from xaicli.attack.plan import Series
from xaicli.attack.quantise import as_stored
from xaicli.attack.runner import radii_in, runner
from xaicli.attack.sanity import checks_of, rows_of, sanity
from xaicli.attack.transfer import judged_by
from xaicli.attack.trial import Suspect, Trial
from xaicli.attack.verdicts import Verdict, points, to_curve
from xaicli.files.artifact import Artifact
from xaicli.files.columns import Status
from xaicli.files.sources import Sources
from xaicli.run.blocks import Columns, Result
from xaicli.run.calls import Calls
from xaicli.run.cases import Case
from xaicli.run.device import prepare
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.posterior import open_calls
from xaicli.run.progress import warn
from xaicli.run.random import Stream
from xaicli.run.settings import Settings
from xaicli.specs import Spec

# Attacks and controls of every size share their draws: comparisons are paired, noise is where PGD starts, and more
# steps or restarts go on from the same points.
STREAM = "attack"


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


class Work:
    """The open models of one case."""

    def __init__(self, case: Case, attacks: Sequence[Spec], request: Request, settings: Settings) -> None:
        device = prepare(settings)
        self.inputs: Inputs = case.inputs
        self.request, self.attacks, self.seed = request, attacks, settings.seed
        self.suspects = [request.suspect(spec) for spec in attacks]
        self.opened = Opened(case, settings, device)
        self.judges = [
            open_calls(judge.path, device=device, settings=settings, stream=FRESH) for judge in request.judges
        ]

    def result(self, number: int, rows: Rows, forwards: int) -> Result:
        """What one of the attacks makes of some rows, and with the first of them the sanity verdicts."""
        suspect, spec = self.suspects[number], self.attacks[number]
        columns = self._columns(suspect, spec, rows)
        checks = self.request.checks(spec)
        if not checks:
            return Result(columns)
        first = rows.positions[0] == self.inputs.positions[0]
        verdicts = self._tried(suspect, spec, rows_of(suspect, forwards, len(self.inputs))) if first else None
        status = np.where(rows.status == Status.OK, columns["status"], rows.status)
        return Result(columns, {name: to_curve(verdicts, status, Status.OK, len(checks)) for name in points(checks)})

    def _columns(self, suspect: Suspect, spec: Spec, rows: Rows) -> Columns:
        """The store's columns; rows without a true class or with logits that are not finite fail."""
        attack, draws = suspect.attack, draws_of(self.opened.case.meta, spec)
        calls, judge = self.opened.attacked(draws), self.opened.judge(draws)
        images, labels, stream = self._asked(rows, calls)
        found = suspect.begin(attack, calls, stream).run(images, labels)
        if judge is not None:
            found = outward(found, images, labels, attack.norm, attack.eps, calls)
        if self.request.dtype == "uint8":
            found = as_stored(found, images, labels, attack.norm, attack.eps, calls)
        done = by_judge(found, images, labels, attack.eps, judge)
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
            **as_attacked(found, judge),
            **refusals(self.opened.refusal, images, done.images),
        }
        if isinstance(attack, Series):
            columns["stage"] = done.stage.cpu().numpy()
        if len(radii_in(attack)) > 1:
            columns["broken_at"] = done.broken_at.float().cpu().numpy()
        return columns

    def _tried(self, suspect: Suspect, spec: Spec, count: int) -> list[Verdict]:
        """The verdicts on an attack from the first rows that can be used; a check that fails is said aloud."""
        rows = self.inputs.load(0, count)
        calls = self.opened.attacked(draws_of(self.opened.case.meta, spec))
        found = sanity(Trial(suspect, calls, *self._asked(rows, calls)))
        for (name, means), one in zip(checks_of(suspect).items(), found, strict=True):
            if not one.passed:
                warn(f"the sanity check '{name}' of {spec} FAILED ({one.value:.3g}): {means}")
        return found

    def _asked(self, rows: Rows, calls: Calls) -> tuple[torch.Tensor, torch.Tensor, Stream]:
        images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
        labels = torch.as_tensor(rows.labels).to(calls.device)
        return images, labels, Stream(self.seed, STREAM, tuple(int(number) for number in rows.index))
