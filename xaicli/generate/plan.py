"""What a generator is made of: parameters of an image, an objective, and a rule of steps. One loop runs them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from xaicli.run.calls import Calls


@dataclass(frozen=True)
class Task:
    """The images to be made, one a row."""

    start: Tensor
    """[n, C, H, W] in [0, 1], where each begins."""
    target: Tensor
    """int64 [n], the class that is driven; 0 where there is none."""
    weights: Tensor
    """[n, 1, H, W] in [0, 1], how much each pixel may move."""
    aim: Tensor
    """[n, D], what the objective drives or compares with; D is 0 where the class says it all."""
    draws: Tensor
    """[n, steps, 4] uniform numbers of each row's and step's own, for transformations; [n, 0, 4] without them."""


class Parameters(Protocol):
    """How an image depends on what is optimised."""

    def begin(self, task: Task) -> Tensor:
        """The point [n, ...] that the walk starts from."""

    def images(self, point: Tensor) -> Tensor:
        """Images [n, C, H, W] in [0, 1], differentiable in the point."""


class Objective(Protocol):
    """What is raised."""

    def __call__(self, calls: Calls, images: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """The objective of every image, [n], differentiable, and the logits [n, K]."""


class Rule(Protocol):
    """How a point moves up its gradient; `memory` [n, ...] is what it keeps from step to step."""

    def begin(self, point: Tensor) -> Tensor:
        """The memory before the first step."""

    def move(
        self, point: Tensor, gradient: Tensor, value: Tensor, memory: Tensor, taken: Tensor, task: Task
    ) -> tuple[Tensor, Tensor]:
        """The next point and memory. value: the objective at the point, [n]; taken: int64 [n], the steps before."""


@dataclass(frozen=True)
class Plan:
    """One generator, ready to run."""

    steps: int
    parameters: Parameters
    objective: Objective
    rule: Rule
    plateau: float = 0.0
    """An image is finished when its last ten steps brought no more than this share of all it has gained; 0: never."""
    vary: Callable[[Tensor, Tensor], Tensor] | None = None
    """Transforms the images [n, C, H, W] before the model sees them, by uniform numbers [n, 4]."""
    keep: Literal["best", "last"] = "last"
    """Which point of its walk an image is; `vary` makes values of single steps too uncertain to compare."""
    rank: Callable[[Tensor, Tensor, Task], Tensor] | None = None
    """What tells better images from worse, from values [n] and images; None: the objective itself."""
    folds: bool = False
    """Whether walks may ask the classifier with BatchNorms folded away, equal to 1e-4; images as stored never do."""
    levels: bool = True
    """Whether images have 256 levels, as uint8 holds them."""
