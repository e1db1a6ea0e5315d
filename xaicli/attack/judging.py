"""Who has the last word on attacked images: independent draws of an uncertain checkpoint, and its detector.

An attack that averages over some networks drawn from a posterior (Athalye et al., 2018) may fit these very networks.
What counts is what as many others say, drawn after it: the draws of another random stream. An ensemble has no others,
and judges itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.attack.engine import Attacked
from xaicli.attack.goal import as_judged
from xaicli.attack.outward import FACTORS
from xaicli.data.dataset import UNKNOWN
from xaicli.files.checkpoint import Checkpoint, CheckpointMeta, read_checkpoint
from xaicli.files.columns import Column
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls, evaluating
from xaicli.run.cases import Case
from xaicli.run.posterior import STREAM, open_calls, usual_draws
from xaicli.run.rejection import Rejector, rejector_of
from xaicli.run.settings import Settings
from xaicli.specs import Spec

FRESH = f"{STREAM}/judge"
"""The random stream of the draws that no attack has seen."""
ATTACKED, ATTACKED_CLEAN = "drawn_prediction", "drawn_clean_prediction"
SCORE, REFUSED, REFUSED_CLEAN = "known_score", "refused", "clean_refused"


def draws_of(meta: CheckpointMeta, spec: Spec) -> int | None:
    """How many networks an attack averages over; the usual number for one whose own option `draws` is another thing."""
    return spec.draws if spec.method.takes_draws else usual_draws(meta) or None


def has_fresh_draws(meta: CheckpointMeta, draws: int | None) -> bool:
    """Whether other networks than the attacked ones can be drawn to judge the images."""
    return bool(draws) and (meta.posterior or {}).get("kind") != "ensemble"


def judge_columns(meta: CheckpointMeta, draws: int | None) -> tuple[Column, ...]:
    """What the attacked draws predict, where others judge; and what the detector says, where there is one.

    `known_score` and `refused` are of the attacked image, `clean_refused` of the clean one; 1 is UNKNOWN.
    """
    drawn = (Column(ATTACKED_CLEAN, "<u2", fill=UNKNOWN), Column(ATTACKED, "<u2", fill=UNKNOWN))
    refusals = (Column(SCORE, "<f4"), Column(REFUSED, "|u1"), Column(REFUSED_CLEAN, "|u1"))
    return (*(drawn if has_fresh_draws(meta, draws) else ()), *(refusals if meta.rejection is not None else ()))


def judge_forwards(meta: CheckpointMeta, draws: int | None) -> int:
    """Forwards that one row costs beside the attack.

    By the judges and by the detector, on its clean and its attacked image; and by the attacked draws, where it is moved
    on for the judges' sake.
    """
    judges = draws or 0 if has_fresh_draws(meta, draws) else 0
    detector = max(usual_draws(meta), 1) if meta.rejection is not None else 0
    return 2 * (judges + detector) + len(FACTORS) * judges


@dataclass(frozen=True, eq=False)
class Opened:
    """The functions of one case's checkpoint, each opened when it is first asked for."""

    case: Case
    settings: Settings
    device: torch.device

    @cached_property
    def _functions(self) -> dict[tuple[int | None, str], Calls]:
        return {}

    def attacked(self, draws: int | None) -> Calls:
        """What an attack with so many draws is run against; the one function of an ordinary checkpoint for None."""
        return self._open(draws, STREAM)

    def judge(self, draws: int | None) -> Calls | None:
        """The mean of as many other draws; None where the attacked function judges itself."""
        return self._open(draws, FRESH) if has_fresh_draws(self.case.meta, draws) else None

    @cached_property
    def refusal(self) -> tuple[Rejector, Calls] | None:
        """The detector with its function: of an uncertain checkpoint the usual number of draws that no attack saw."""
        draws = usual_draws(self.case.meta) or None
        calls = self.judge(draws) or self.attacked(draws)
        rejector = rejector_of(self._checkpoint, calls)
        return None if rejector is None else (rejector, calls)

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return read_checkpoint(self.case.checkpoint.path)

    def _open(self, draws: int | None, stream: str) -> Calls:
        if (draws, stream) not in self._functions:
            self._functions[draws, stream] = open_calls(
                self._checkpoint, device=self.device, settings=self.settings, draws=draws, stream=stream
            )
        return self._functions[draws, stream]


def by_judge(done: Attacked, images: Tensor, labels: Tensor, eps: float | None, judge: Calls | None) -> Attacked:
    """The outcome as other draws see it; without a judge it stays what it is.

    images: the clean ones. Rows that the attacked draws have wrong were left alone, however the judge finds them.
    """
    if judge is None:
        return done
    with evaluating(judge.classifier):
        return as_judged(done, judge.logits(images), judge.logits(done.images), labels, eps)


def as_attacked(done: Attacked, judge: Calls | None) -> Columns:
    """What the attacked draws predict, where a judge will say something else."""
    if judge is None:
        return {}
    return {ATTACKED_CLEAN: _classes(done.clean_logits), ATTACKED: _classes(done.logits)}


def refusals(refusal: tuple[Rejector, Calls] | None, clean: Tensor, attacked: Tensor) -> Columns:
    """What the detector says of images [n, C, H, W]; decided in float64, before the score is stored."""
    if refusal is None:
        return {}
    rejector, calls = refusal
    with evaluating(calls.classifier):
        before, after = rejector.scores(calls, clean), rejector.scores(calls, attacked)
    return {
        SCORE: after.float().cpu().numpy(),
        REFUSED: (~rejector.keeps(after)).astype(np.uint8),
        REFUSED_CLEAN: (~rejector.keeps(before)).astype(np.uint8),
    }


def _classes(logits: Tensor) -> np.ndarray[Any, Any]:
    return logits.argmax(1).cpu().numpy().astype(np.uint16)
