"""Auto-PGD: ascent with momentum whose step halves where progress ends, as in the authors' code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from xaicli.attack.apgd_l1 import SparseAutoPGD
from xaicli.attack.ascent import Ascent, risen
from xaicli.attack.loss import Loss, aimed_dlr, away, dlr
from xaicli.attack.norms import direction, project, size
from xaicli.attack.plan import Ask, Samples, Seen, State, Usual, choose
from xaicli.attack.radii import at_radii
from xaicli.signatures import Count, Radii, Share

MOMENTUM = 0.75
FIRST, SHORTER, SHORTEST = 0.22, 0.03, 0.06
"""Of all steps: those up to the first checkpoint, by how much each later stretch is shorter, and the shortest."""


@dataclass(frozen=True)
class Climb(Ascent):
    """An ascent by Auto-PGD. All but the points and the gradient are one value a sample."""

    before: Tensor  # the point before, [n, C, H, W]
    latest: Tensor  # loss of the last point
    checked: Tensor  # highest loss at the last checkpoint
    stride: Tensor
    walked: Tensor  # steps
    left: Tensor  # of the present stretch
    stretch: Tensor  # steps from checkpoint to checkpoint
    rises: Tensor  # steps of this stretch that raised the loss
    halved: Tensor  # bool: whether the step was halved at the last checkpoint


@dataclass(frozen=True)
class AutoPGD(Usual):
    """Auto-PGD in linf or l2 (Croce and Hein, 2020)."""

    norm: str
    eps: float
    steps: int
    loss: Loss
    restarts: int = 1  # or other classes in turn, if it has targets
    rho: float = 0.75

    def tries(self, classes: int) -> int:
        """Restarts, or targets."""
        return self.restarts if self.towards is None else min(self.restarts, classes - 1)

    def begin(self, samples: Samples) -> State:
        """At the rim of the ball, in a random direction."""
        noise = 2 * samples.draw.uniform() - 1 if self.norm == "linf" else samples.draw.normal()
        start = samples.clean + self.eps * noise / size(noise, self.norm).view(-1, 1, 1, 1)
        point = samples.begin_at(start.clamp_(0, 1))
        count = len(point)
        number, none = point.new_zeros(count), torch.zeros(count, dtype=torch.int64, device=point.device)
        first = self._share(FIRST)
        return Climb(
            point=point,
            before=point,
            best=point,
            gradient=torch.zeros_like(point),
            loss=number - torch.inf,
            # the authors count the first step as a rise when its loss is positive, as every cross-entropy is
            latest=number - torch.inf if self.loss is away else number,
            checked=number,
            stride=number + 2 * self.eps,
            walked=none,
            left=none + first,
            stretch=none + first,
            rises=none,
            halved=none == 0,  # before the first checkpoint there is no other to compare with
        )

    def step(self, samples: Samples, state: Climb, ask: Ask) -> tuple[State, Seen]:
        """Ask for the gradient, at a checkpoint perhaps go back to the best point, and go on."""
        asked = ask.gradient(state.point, self.loss, samples)
        climbed, back = self._checkpoint(risen(state, asked), asked.loss)
        point = choose(back, climbed.best, state.point)
        uphill = direction(choose(back, climbed.gradient, asked.gradient), self.norm, samples.draw.normal)
        stride = climbed.stride.view(-1, 1, 1, 1)
        target = project(point + stride * uphill, samples.clean, self.eps, self.norm)
        share = torch.where(state.walked == 0, 1.0, MOMENTUM).to(point).view(-1, 1, 1, 1)
        moved = point + share * (target - point) + (1 - share) * (point - state.before)
        moved = project(moved, samples.clean, self.eps, self.norm)
        after = replace(climbed, point=moved, before=point, walked=state.walked + 1)
        return after, Seen(state.point, asked.logits, asked.loss)

    def _checkpoint(self, state: Climb, loss: Tensor) -> tuple[Climb, Tensor]:
        """Count the step that has led here; at the end of a stretch halve the step where it did not pay.

        Returns the state and which samples go back to their best point, bool [n].
        """
        moved = state.walked > 0
        rises = state.rises + (moved & (loss > state.latest))
        left = state.left - moved.long()
        due = left == 0
        stuck = rises <= self.rho * state.stretch
        idle = ~state.halved & (state.checked >= state.loss)
        halve = due & (stuck | idle)
        shorter = (state.stretch - self._share(SHORTER)).clamp_min(self._share(SHORTEST))
        stretch = torch.where(due, shorter, state.stretch)
        after = replace(
            state,
            latest=torch.where(moved, loss, state.latest),
            checked=torch.where(due, state.loss, state.checked),
            stride=torch.where(halve, state.stride / 2, state.stride),
            left=torch.where(due, stretch, left),
            stretch=stretch,
            rises=torch.where(due, 0, rises),
            halved=torch.where(due, halve, state.halved),
        )
        return after, halve

    def _share(self, share: float) -> int:
        return max(int(share * self.steps), 1)


def apgd(
    *,
    norm: Literal["linf", "l2", "l1"] = "linf",
    eps: Radii | None = None,
    steps: Count = 100,
    restarts: Count = 1,
    loss: Literal["ce", "dlr"] = "ce",
    rho: Share = 0.75,
) -> AutoPGD | SparseAutoPGD:
    """Auto-PGD: momentum, and a step that halves where progress ends (Croce and Hein, 2020).

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf, 0.5 for l2 and 12 for l1; several give a security
    curve. The first step is 2*eps. loss: the cross-entropy, or the difference of logits ratio (of fewer than 4 classes:
    the margin). rho: the share of rising steps below which the step halves. l1: sparse steps instead of momentum, the
    first 60 % of them in balls three and two times as large (Croce and Hein, 2021).
    """
    raised = away if loss == "ce" else dlr
    return at_radii(norm, eps, lambda radius: auto_pgd(norm, radius, steps, raised, restarts, rho))


def apgd_t(
    *,
    norm: Literal["linf", "l2", "l1"] = "linf",
    eps: Radii | None = None,
    steps: Count = 100,
    targets: Count = 9,
    rho: Share = 0.75,
) -> AutoPGD | SparseAutoPGD:
    """Auto-PGD towards the likeliest other classes, one after the other (Croce and Hein, 2020).

    eps: radius in pixel values of [0, 1]; auto is 8/255 for linf, 0.5 for l2 and 12 for l1; several give a security
    curve. targets: classes tried, all others if there are fewer. The loss is the targeted difference of logits ratio,
    of fewer than 4 classes the margin. rho and l1 as for apgd.
    """
    return at_radii(norm, eps, lambda radius: auto_pgd(norm, radius, steps, aimed_dlr, targets, rho, towards="each"))


def auto_pgd(
    norm: str, eps: float, steps: int, loss: Loss, tries: int, rho: float = 0.75, *, towards: str | None = None
) -> AutoPGD | SparseAutoPGD:
    """The form of Auto-PGD that the norm has."""
    if norm == "l1":
        return SparseAutoPGD(eps, steps, loss, tries, towards=towards)
    return AutoPGD(norm, eps, steps, loss, tries, rho, towards=towards)
