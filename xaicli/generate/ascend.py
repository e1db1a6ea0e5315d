"""The one loop of all generators: each image walks for itself, and the batch only shares the model call.

The batch is a row of lanes. An image that has made all its steps, or whose objective has stopped growing, leaves its
lane to the next one of the block, so that every call is full until the block runs out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from xaicli.attack.lanes import gather
from xaicli.generate.plan import Plan, Task
from xaicli.run.calls import Answer, Calls

WINDOW = 10  # steps in which an image that is not finished has to gain something


@dataclass(frozen=True)
class Made:
    """The images of a block as they are stored, and how each came to be."""

    images: Tensor  # [n, C, H, W] in [0, 1]
    logits: Tensor  # [n, K]
    score: Tensor  # [n], the objective
    loss: Tensor  # [n, steps + 1], minus the objective before every step, then of the stored image, then NaN
    steps: Tensor  # int64 [n]


@dataclass(frozen=True)
class _Walks:
    """The images in the lanes."""

    row: Tensor  # int64 [m], in the block
    taken: Tensor  # int64 [m], steps
    point: Tensor
    memory: Tensor
    best: Tensor  # the point of highest rank so far
    rank: Tensor  # [m]


def ascend(plan: Plan, calls: Calls, task: Task) -> Made:
    """Make the images of a block; at most `plan.steps` + 2 forwards each."""
    total, ask = len(task.start), _question(plan, calls)
    taken = torch.zeros(total, dtype=torch.int64, device=task.start.device)
    values = task.start.new_full((total, plan.steps), float("nan"))
    tops = torch.full_like(values, float("-inf"))  # the highest value up to each step
    last = _points(plan, task, range(total))
    best, ranks = last.clone(), task.start.new_full((total,), float("-inf"))
    walks, came = _begin(plan, task, range(min(calls.batch_size, total))), min(calls.batch_size, total)
    own = gather(task, walks.row)
    while len(walks.row):
        value, rank, point, memory = calls.each(ask, walks.point, walks.memory, walks.taken, *_tensors(own))
        values[walks.row, walks.taken] = value
        tops[walks.row, walks.taken] = torch.maximum(value, tops[walks.row, (walks.taken - 1).clamp_min(0)])
        walks = _moved(plan, walks, rank, point, memory)
        over = _is_over(plan, walks.taken, tops[walks.row], values[walks.row, 0]) | ~value.isfinite()
        if not over.any():
            continue
        left = gather(walks, over.nonzero().flatten())
        last[left.row], best[left.row], ranks[left.row] = left.point, left.best, left.rank
        taken[left.row] = left.taken
        coming = range(came, min(came + len(left.row), total))
        came = coming.stop
        walks = gather(walks, (~over).nonzero().flatten())
        walks = _joined(walks, _begin(plan, task, coming)) if len(coming) else walks
        own = gather(task, walks.row)
    return _finished(plan, calls, task, last, best, ranks, torch.cat([-values, values[:, :1] * torch.nan], 1), taken)


def _begin(plan: Plan, task: Task, rows: range) -> _Walks:
    row, point = torch.arange(rows.start, rows.stop, device=task.start.device), _points(plan, task, rows)
    worst = task.start.new_full((len(row),), float("-inf"))
    return _Walks(row, torch.zeros_like(row), point, plan.rule.begin(point), point, worst)


def _points(plan: Plan, task: Task, rows: range) -> Tensor:
    """Where walks start; one by one, since a Fourier transform of one image has other last bits than one of several."""
    each = (torch.tensor([row], device=task.start.device) for row in rows)
    return torch.cat([plan.parameters.begin(gather(task, row)) for row in each])


def _question(plan: Plan, calls: Calls) -> Callable[..., Answer]:
    """Asks for every lane's value and rank, and moves it."""
    asked = Calls(calls.folded(), batch_size=calls.batch_size) if plan.folds else calls

    def ask(point: Tensor, memory: Tensor, taken: Tensor, *rows: Tensor) -> Answer:
        task = Task(*rows)
        point = point.detach().requires_grad_()
        images = plan.parameters.images(point)
        seen = images if plan.vary is None else plan.vary(images, _of_step(task.draws, taken))
        value, _ = plan.objective(asked, seen, task)
        (gradient,) = torch.autograd.grad(value.sum(), point)
        with torch.no_grad():
            rank = value if plan.rank is None else plan.rank(value, images, task)
            moved, memory = plan.rule.move(point.detach(), gradient, value, memory, taken, task)
        return value.detach(), rank.detach(), moved, memory

    return ask


def _of_step(draws: Tensor, taken: Tensor) -> Tensor:
    return draws[torch.arange(len(draws), device=draws.device), taken]


def _moved(plan: Plan, walks: _Walks, rank: Tensor, point: Tensor, memory: Tensor) -> _Walks:
    best, ranks = walks.best, walks.rank
    if plan.keep == "best":
        better = rank > walks.rank
        best = torch.where(better.view(-1, *[1] * (point.dim() - 1)), walks.point, best)
        ranks = torch.where(better, rank, ranks)
    return _Walks(walks.row, walks.taken + 1, point, memory, best, ranks)


def _is_over(plan: Plan, taken: Tensor, tops: Tensor, first: Tensor) -> Tensor:
    """Whether all steps are made, or the last ten brought too little; tops: [m, steps], first: the first values."""
    over = taken == plan.steps
    if not plan.plateau:
        return over
    at = (taken - 1).unsqueeze(1)
    now, before = (tops.gather(1, place).squeeze(1) for place in (at, (at - WINDOW).clamp_min(0)))
    return over | ((taken > WINDOW) & (now - before <= plan.plateau * (now - first)))


def _joined(some: _Walks, others: _Walks) -> _Walks:
    return _Walks(*(torch.cat(pair) for pair in zip(_tensors(some), _tensors(others), strict=True)))


def _tensors(batch: Task | _Walks) -> list[Tensor]:
    return [getattr(batch, field.name) for field in fields(batch)]


def _finished(
    plan: Plan, calls: Calls, task: Task, last: Tensor, best: Tensor, ranks: Tensor, loss: Tensor, taken: Tensor
) -> Made:
    """The last points as images; the best ones where they are still better as images."""

    def ask(point: Tensor, *rows: Tensor) -> Answer:
        own, images = Task(*rows), plan.parameters.images(point)
        images = (images * 255).round() / 255 if plan.levels else images
        value, logits = plan.objective(calls, images, own)
        return images, logits, value, value if plan.rank is None else plan.rank(value, images, own)

    with torch.no_grad():
        images, logits, score, rank = calls.each(ask, last, *_tensors(task))
        again = ((ranks > rank) | ~rank.isfinite()).nonzero().flatten() if plan.keep == "best" else taken[:0]
        if len(again):
            found = calls.each(ask, best[again], *_tensors(gather(task, again)))
            better = found[3] > rank[again]
            for whole, part in zip((images, logits, score), found, strict=False):
                whole[again[better]] = part[better]
    loss = loss.scatter(1, taken.unsqueeze(1), -score.unsqueeze(1))
    return Made(images, logits, score, loss, taken)
