"""A generator's images of given starts, without files."""

from __future__ import annotations

from torch import Tensor

from xaicli.generate.ascend import Made, ascend
from xaicli.generate.class_images import ClassImages
from xaicli.generate.plan import Plan, Task
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls


def task_of(
    start: Tensor,
    target: Tensor | None = None,
    weights: Tensor | None = None,
    aim: Tensor | None = None,
    draws: Tensor | None = None,
) -> Task:
    """A task; what is not given is 0, or free."""
    return Task(
        start=start,
        target=start.new_zeros(len(start)).long() if target is None else target,
        weights=start.new_ones(len(start), 1, *start.shape[2:]) if weights is None else weights,
        aim=start.new_empty(len(start), 0) if aim is None else aim,
        draws=start.new_empty(len(start), 0, 4) if draws is None else draws,
    )


def made(
    generator: ClassImages | Plan,
    net: Classifier,
    start: Tensor,
    target: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    batch_size: int = 32,
    **task: Tensor,
) -> Made:
    """What becomes of these starts."""
    plan = generator if isinstance(generator, Plan) else generator.plan(max(start.shape[2:]))
    return ascend(plan, Calls(net, batch_size=batch_size), task_of(start, target, weights, **task))
