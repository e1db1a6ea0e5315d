"""What generators work for: a checkpoint with what came with it; and what they make of it, first without the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xaicli.data.cut import cut
from xaicli.data.dataset import Dataset
from xaicli.errors import InputError, UsageError
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import CheckpointMeta
from xaicli.files.columns import Column
from xaicli.files.parents import Parents
from xaicli.generate.ascend import Made
from xaicli.generate.plan import Plan, Task
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, check_fit, open_checkpoint_data, reopen_known
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.selection import select
from xaicli.run.settings import Settings
from xaicli.run.stored import open_stored_images

EACH = 8  # images of each class, unless --per-class says how many


@dataclass(frozen=True)
class Subject:
    """One checkpoint and what came with it. `wanted`: the classes asked for; `every`: whether that is all of them."""

    checkpoint: Artifact
    meta: CheckpointMeta
    attributions: Artifact | None
    images: Artifact | None
    wanted: list[int]
    parents: Parents
    settings: Settings

    @property
    def every(self) -> bool:
        """Whether all classes are wanted."""
        return self.wanted == list(range(len(self.meta.classes)))

    @property
    def each(self) -> int:
        """Images of each class."""
        return self.settings.per_class or EACH

    def training(self, otherwise: str) -> Dataset:
        """The training split of the checkpoint's data, known classes only; otherwise: what to do when it has none."""
        recorded = dict(self.meta.data or {})
        if not recorded.get("name"):
            raise UsageError(f"'{self.checkpoint.path.name}' does not say what data it was trained on; {otherwise}.")
        return reopen_known({**recorded, "split": "train"}, self.meta.shape, self.parents, self.settings)

    def case(self) -> Case:
        """Images to begin from: rows of the images given, or of the test split of the checkpoint's own data.

        `each` of every class unless --limit or --per-class says otherwise; with --classes only images of those.
        """
        if self.images is not None:
            dataset: Dataset = open_stored_images(self.images.path)
        else:
            dataset = open_checkpoint_data(self.checkpoint, None, self.parents, self.settings)
        check_fit(self.meta, dataset, self.checkpoint.path.name)
        if not self.every:
            mine = np.flatnonzero(np.isin(dataset.labels, self.wanted))
            if not len(mine):
                raise InputError("none of the images is of a class that --classes names; name others.")
            dataset = cut(dataset, mine, dataset.labels)
        chosen = self.settings.limit is not None or self.settings.per_class is not None
        positions = select(dataset, self.settings if chosen else replace(self.settings, per_class=EACH))
        recorded = dict((self.images.parents.get("data") if self.images else None) or {})
        path = self.parents.data_path(str(recorded.get("digest")))
        stem = (self.images or self.checkpoint).stem
        return Case(self.checkpoint, self.meta, Inputs(dataset, positions), self.images, stem, path)


@dataclass(frozen=True)
class Order:
    """The images to be made, before any model is loaded: one a row of `inputs`."""

    inputs: Inputs
    data: Mapping[str, Any]
    """The data set of the rows as a job names it."""
    parents: Mapping[str, Artifact] = field(default_factory=dict)
    """By role, what is used beside the checkpoint."""
    columns: tuple[Column, ...] = ()
    dtype: str = "|u1"
    attributes: Mapping[str, Any] = field(default_factory=dict)


def order_of_images(subject: Subject, dtype: str = "|u1", columns: tuple[Column, ...] = ()) -> Order:
    """One image for each that the subject begins from, whose row, label and name it keeps."""
    case = subject.case()
    parents = {} if case.images is None else {"images": case.images}
    return Order(case.inputs, dict(case.job_parents["data"] or {}), parents, columns, dtype)


def stride_at(side: int, step: float | None) -> float:
    """A step's l2 length: 0.5 at 32 pixels, in proportion to the side, unless it was given."""
    return 0.5 * side / 32 if step is None else step


def nothing(rows: Rows, task: Task, made: Made) -> Columns:
    """No columns of its own."""
    return {}


@dataclass(frozen=True)
class Ready:
    """A generator with a model: its plan, what it makes of rows, and its own columns (`start` among them)."""

    plan: Plan
    task: Callable[[Rows], Task]
    columns: Callable[[Rows, Task, Made], Columns] = nothing


class Generator(Protocol):
    """What a generator's function returns: a frozen dataclass of its options."""

    @property
    def steps(self) -> int:
        """Steps of each image at most."""

    @property
    def forwards(self) -> int:
        """Forwards of each image at most."""

    @property
    def looks_inside(self) -> bool:
        """Whether it needs a layer of one network, which the mean of several draws does not have."""

    @property
    def of_classes(self) -> bool:
        """Whether it makes --per-class images of each class, instead of one for each image that it is given."""

    def order(self, subject: Subject, asked: str) -> Order:
        """What is to be made; UsageError for a source that is missing. asked: the specification, for messages."""

    def ready(self, subject: Subject, order: Order, calls: Calls) -> Ready:
        """With the model."""


def plain_task(calls: Calls, rows: Rows, *, target: Tensor | None = None, aim: Tensor | None = None) -> Task:
    """A task whose images begin as the rows, all pixels free, without draws."""
    start = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
    zeros = torch.zeros(len(start), dtype=torch.int64, device=calls.device)
    return Task(
        start=start,
        target=zeros if target is None else target,
        weights=torch.ones_like(start[:, :1]),
        aim=start.new_empty(len(start), 0) if aim is None else aim,
        draws=start.new_empty(len(start), 0, 4),
    )
