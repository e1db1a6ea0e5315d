"""Inversion: images that the model cannot tell from a given one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from xaicli.data.dataset import Dataset, to_float
from xaicli.generate.ascend import Made
from xaicli.generate.objectives import Likeness
from xaicli.generate.parameters import Pixels
from xaicli.generate.plan import Plan, Task
from xaicli.generate.representation import Representation
from xaicli.generate.rules import Strides
from xaicli.generate.subject import Order, Ready, Subject, order_of_images, plain_task, stride_at
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.inputs import Rows
from xaicli.run.random import Stream, generator
from xaicli.signatures import Count, Positive, Share

AMPLITUDE = np.float32(0.1)  # of the noise: what an inversion leaves as it is should not hide what it changes
MOMENTUM = 0.9  # without it, walks zigzag: on shapes the loss left is four times as large
NOISE, OTHERS = "inversion:noise", "inversion:start"


@dataclass(frozen=True)
class Inversion:
    """How images are found; `step` of None depends on the image's side."""

    steps: int
    step: float | None
    layer: str
    start: str
    plateau: float

    looks_inside = True
    of_classes = False

    @property
    def forwards(self) -> int:
        """One for the image's own representation, one a step, and of the last and the best image as stored."""
        return self.steps + 3

    def order(self, subject: Subject, asked: str) -> Order:
        """Images of the data, or of an images SOURCE."""
        return order_of_images(subject)

    def ready(self, subject: Subject, order: Order, calls: Calls) -> Ready:
        """With the representations of the rows' images as aims."""
        inside = Representation(self.layer)
        inside.width(calls)  # refuses what has no such layer
        seed = subject.settings.seed
        others = subject.training("use start=noise") if self.start == "images" else None

        def task(rows: Rows) -> Task:
            whole = plain_task(calls, rows)
            whole = replace(whole, aim=inside.flat(calls, whole.start))
            if others is None:
                draws = Stream(seed, NOISE, tuple(rows.index.tolist())).uniform(rows.pixels.shape[1:])
                start = np.float32(0.5) + AMPLITUDE * (2 * draws - 1)
            else:
                start = to_float(others.read(_drawn(others, rows, seed)).pixels)
            return replace(whole, start=torch.as_tensor(start).to(whole.start))

        def columns(rows: Rows, task: Task, made: Made) -> Columns:
            chosen = None if others is None else others.index[_drawn(others, rows, seed)]
            begun = np.full(len(rows), -1) if chosen is None else chosen
            return {"start": begun, "score": -made.score.float().cpu().numpy()}

        return Ready(self.plan(max(subject.meta.shape[1:])), task, columns)

    def plan(self, side: int) -> Plan:
        """For images of this side."""
        rule = Strides(stride_at(side, self.step), momentum=MOMENTUM, fades=self.steps)
        return Plan(self.steps, Pixels(), Likeness(Representation(self.layer)), rule, self.plateau, keep="best")


def _drawn(others: Dataset, rows: Rows, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """For each row, the position of the image that it begins from."""
    return np.array([generator(seed, OTHERS, int(row)).integers(len(others)) for row in rows.index], dtype=np.int64)


def inversion(
    *,
    steps: Count = 200,
    step: Positive | None = None,
    layer: str = "features",
    start: Literal["noise", "images"] = "noise",
    plateau: Share = 0.0,
) -> Inversion:
    """Images whose representation is that of a given image: what the model keeps of it (Mahendran and Vedaldi, 2015).

    For each image x by itself, the loss norm(R(x') - R(x)) / norm(R(x)) is made small by normalised l2 steps in [0, 1],
    with momentum, which fade. layer: R is what the last linear layer is given (`features`), the last layer with a
    spatial map (`auto`), or that of a name. The images inverted are test images of the checkpoint's data (--per-class
    or --limit says how many), or those of an images SOURCE. start: `noise`, uniform from 0.4 to 0.6, or `images`,
    training images drawn at random. step: pixel values of [0, 1]; auto is 0.5 at 32 pixels, in proportion to the side.
    plateau: an image is finished when ten steps have brought no more than this share of all it has gained; 0 makes all
    steps. The best image of the walk is stored, and as `score` its loss, 0 for the same representation.
    """
    return Inversion(steps, step, layer, start, plateau)
