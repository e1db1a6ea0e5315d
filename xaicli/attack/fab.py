"""FAB: the nearest breaking image, by steps onto linear pieces of the border and back towards the clean image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from xaicli.attack.hyperplane import reach
from xaicli.attack.loss import Loss, aimed_margin, margin
from xaicli.attack.norms import size
from xaicli.attack.plan import Ask, Samples, Seen, State, Usual
from xaicli.attack.radii import at_radii
from xaicli.signatures import Count, Radii

ALPHA = 0.1  # the largest share of the clean image's own projection
ETA = 1.05  # how far steps go beyond the border
BETA = 0.9  # of a breaking perturbation, where the search goes on
SMALLEST = 1e-8  # of a change, so that their ratio exists


@dataclass(frozen=True)
class FastBoundary(Usual):
    """Targeted FAB in linf, l2 or l1 (Croce and Hein, 2020); a sample is done once it is broken within the radius."""

    norm: str
    eps: float
    steps: int
    targets: int = 9
    loss: Loss = aimed_margin

    def tries(self, classes: int) -> int:
        """The likeliest other classes."""
        return min(self.targets, classes - 1)

    def begin(self, samples: Samples) -> State:
        """At the clean image."""
        return State(samples.clean)

    def step(self, samples: Samples, state: State, ask: Ask) -> tuple[State, Seen]:
        """Go onto the border's linear piece from here and from the clean image, and a little further."""
        asked = ask.gradient(state.point, self.loss, samples)
        here, clean, weight = state.point.flatten(1), samples.clean.flatten(1), asked.gradient.flatten(1)
        gap = torch.cat([asked.loss, asked.loss + (weight * (clean - here)).sum(1)])
        change = reach(torch.cat([here, clean]), torch.cat([weight, weight]), gap, self.norm)
        change = change.view(2, *samples.clean.shape)
        near, far = (size(part, self.norm).clamp_min(SMALLEST) for part in change)
        share = (near / (near + far)).clamp_max(ALPHA).view(-1, 1, 1, 1)
        there = (1 - share) * (state.point + ETA * change[0]) + share * (samples.clean + ETA * change[1])
        there = there.clamp(0, 1)
        logits = ask.logits(there)
        broken = (logits.argmax(1) != samples.labels).view(-1, 1, 1, 1)
        inside = size(there - samples.clean, self.norm) <= self.eps
        back = samples.clean + BETA * (there - samples.clean)
        loss, _ = margin(logits, samples.labels, samples.aim)
        return State(torch.where(broken, back, there)), Seen(there, logits, loss, inside)


def boundary(norm: str, eps: float, steps: int, targets: int) -> FastBoundary:
    """Targeted FAB, class by class; a step asks for a gradient and then for the logits of where it leads."""
    return FastBoundary(norm, eps, steps, targets, towards="each", last=False, cost=2)


def fab_t(
    *,
    norm: Literal["linf", "l2", "l1"] = "linf",
    eps: Radii | None = None,
    steps: Count = 100,
    targets: Count = 9,
) -> FastBoundary:
    """The nearest image of another class, class by class: targeted FAB (Croce and Hein, 2020).

    eps: radius in pixel values of [0, 1] within which an image counts; auto is 8/255 for linf, 0.5 for l2 and 12 for
    l1; several give a security curve. targets: classes tried, the likeliest first, all others if there are fewer. A
    sample is done with the first image that counts.
    """
    return at_radii(norm, eps, lambda radius: boundary(norm, radius, steps, targets))
