"""Counterfactuals: the smallest change by which a model says something else."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xaicli.errors import UsageError
from xaicli.explain.quantity import Target, parse_target
from xaicli.files.columns import UNKNOWN_LABEL, Column, Status
from xaicli.generate.ascend import Made
from xaicli.generate.objectives import ClassScore
from xaicli.generate.parameters import Pixels
from xaicli.generate.plan import Plan, Task
from xaicli.generate.rules import ClosingIn
from xaicli.generate.subject import Order, Ready, Subject, order_of_images, plain_task, stride_at
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.inputs import Rows
from xaicli.signatures import Count, Positive, Share

BEYOND = 1e4  # ranks every image that has not arrived below all that have


@dataclass(frozen=True)
class Counterfactual:
    """How another class is reached; `step` of None depends on the image's side."""

    target: str
    confidence: float
    steps: int
    step: float | None

    looks_inside = False
    of_classes = False

    @property
    def forwards(self) -> int:
        """One for the prediction, one a step, and of the last and the best image."""
        return self.steps + 3

    @property
    def threshold(self) -> float:
        """The log odds of the confidence."""
        return math.log(self.confidence / (1 - self.confidence))

    def order(self, subject: Subject, asked: str) -> Order:
        """Images of the data, or of an images SOURCE."""
        self._rule(subject)
        return order_of_images(subject, "<f4", (Column("success", "|b1"), Column("distance", "<f4")))

    def _rule(self, subject: Subject) -> Target:
        rule = parse_target(self.target, subject.meta.classes)
        if rule.against != UNKNOWN_LABEL:
            raise UsageError(f"target={self.target} names two classes; a counterfactual reaches one of them.")
        if rule.rule == "predicted":
            raise UsageError("target=predicted is what the model says already; name a class, or leave target out.")
        return rule

    def ready(self, subject: Subject, order: Order, calls: Calls) -> Ready:
        """With the classes to be reached."""
        rule = self._rule(subject)

        def task(rows: Rows) -> Task:
            whole = plain_task(calls, rows)
            logits = calls.logits(whole.start)
            labels = torch.as_tensor(rows.labels).to(calls.device)
            target, _ = rule.resolve(logits, labels)
            return replace(whole, target=torch.where(target < logits.shape[1], target, 0))

        def columns(rows: Rows, task: Task, made: Made) -> Columns:
            unknown = (rows.labels >= len(subject.meta.classes)) & (rule.rule == "label")
            distance = (made.images - task.start).flatten(1).norm(dim=1)
            return {
                "start": rows.index,
                "target": np.where(unknown, UNKNOWN_LABEL, task.target.cpu().numpy()).astype(np.uint16),
                "success": (made.score >= self.threshold).cpu().numpy() & ~unknown,
                "distance": distance.float().cpu().numpy(),
                "score": made.score.sigmoid().float().cpu().numpy(),
                "status": np.where(unknown, Status.FAILED, Status.OK).astype(np.uint8),
            }

        return Ready(self.plan(max(subject.meta.shape[1:])), task, columns)

    def plan(self, side: int) -> Plan:
        """For images of this side."""
        rule = ClosingIn(stride_at(side, self.step), self.steps, self.threshold)
        odds = ClassScore("odds")
        return Plan(self.steps, Pixels(), odds, rule, keep="best", rank=self.rank, levels=False)

    def rank(self, value: Tensor, images: Tensor, task: Task) -> Tensor:
        """The nearer the better of images that have arrived, of others the surer."""
        distance = (images - task.start).flatten(1).norm(dim=1)
        return torch.where(value >= self.threshold, -distance, value - self.threshold - BEYOND)


def counterfactual(
    *,
    target: str = "runner-up",
    confidence: Share = 0.9,
    steps: Count = 200,
    step: Positive | None = None,
) -> Counterfactual:
    """The smallest l2 change of an image by which the model says another class (Santurkar et al., 2019).

    target: the class to be reached, by name or number, or a rule: `runner-up` (the second of the prediction),
    `least-likely`, `label` (the true one, for images that are misread). confidence: the probability that it must have,
    from 0.5 to below 1. Normalised steps raise the target's log odds until they suffice, and then within a ball round
    the image that closes in. The images are test images of the checkpoint's data (--per-class or --limit says how
    many), or those of an images SOURCE; on a robust model their changes mean something to people. step: pixel values of
    [0, 1] at first; auto is 0.5 at 32 pixels, in proportion to the side.

    Stored as float32: the image, `success`, `distance` (l2, pixels in [0, 1]), `start` (its row) and as `score` the
    probability reached; an image that never gets there is the one that came nearest to it.
    """
    if not 0.5 <= confidence < 1:
        raise UsageError(f"counterfactual:confidence={confidence:g} cannot be asked; take one from 0.5 to below 1.")
    return Counterfactual(target, confidence, steps, step)
