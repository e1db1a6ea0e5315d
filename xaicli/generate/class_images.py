"""Class images: what a model wants to see of each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError, UsageError
from xaicli.files.artifact import Artifact
from xaicli.files.store import open_store
from xaicli.generate.ascend import Made
from xaicli.generate.guide import class_experts, class_weights
from xaicli.generate.objectives import ClassScore, Response
from xaicli.generate.parameters import Pixels
from xaicli.generate.plan import Plan, Task
from xaicli.generate.representation import Representation
from xaicli.generate.rules import Strides
from xaicli.generate.starts import Starts, gaussian_draw, given_draw, make_starts, noise_draw
from xaicli.generate.subject import Order, Ready, Subject, plain_task
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.stored import open_stored_images
from xaicli.signatures import Count, Positive, Share


@dataclass(frozen=True)
class ClassImages:
    """How images are driven towards their class; `step` and `eps` of None depend on the image's side."""

    steps: int
    step: float | None
    eps: float | None
    start: str
    objective: Literal["logit", "cross-entropy"]
    guide: str
    plateau: float

    of_classes = True

    @property
    def forwards(self) -> int:
        """A forward a step, and one of the image as it is stored."""
        return self.steps + 1

    @property
    def looks_inside(self) -> bool:
        """Experts are channels of a layer."""
        return self.guide == "experts"

    def radius(self, side: int) -> float:
        """The l2 distance that an image may move: 30 at 32 pixels, 40 at 128 (Santurkar et al., 2019)."""
        return 30 * (side / 32) ** 0.2075 if self.eps is None else self.eps

    def stride(self, side: int) -> float:
        """The l2 length of a step: 0.5 at 32 pixels, 1 at 128."""
        return 0.5 * (side / 32) ** 0.5 if self.step is None else self.step

    def order(self, subject: Subject, asked: str) -> Order:
        """`each` starts of every class wanted."""
        parents: dict[str, Artifact] = {}
        if self.guide != "none":
            parents["attributions"] = _guide(subject, self.guide, asked)
        if self.start == "images":
            if subject.images is None:
                raise UsageError(f"'{asked}' starts from images; give an images store as a SOURCE.")
            parents["images"] = subject.images
        starts = self._starts(subject)
        return Order(Inputs(starts, np.arange(len(starts))), dict(subject.meta.data or {}), parents)

    def _starts(self, subject: Subject) -> Starts:
        meta, each, seed = subject.meta, subject.each, subject.settings.seed
        made = partial(make_starts, classes=meta.classes, driven=subject.wanted, each=each, shape=meta.shape)
        if self.start == "images" and subject.images is not None:
            images = open_stored_images(subject.images.path)
            if images.shape != tuple(meta.shape):
                raise InputError(f"the start images of '{subject.images.path.name}' do not have the checkpoint's size.")
            draw = given_draw(images, each)
            return made(draw, name=images.name, digest=images.digest, begun=images.index[:each])
        if self.start == "noise":
            return made(noise_draw(meta.shape, seed, "class-images:noise"), name="noise", digest="")
        training: Dataset = subject.training("use start=noise")
        draw = gaussian_draw(training, subject.wanted, seed)
        return made(draw, name=training.name, digest=training.digest)

    def ready(self, subject: Subject, order: Order, calls: Calls) -> Ready:
        """With the guide's weights or experts, if there is one."""
        starts, wanted = order.inputs.dataset, subject.wanted
        assert isinstance(starts, Starts)  # as ordered
        weights: dict[int, Tensor] = {}
        experts: dict[int, Tensor] = {}
        inside: Representation | None = None
        if self.guide != "none":
            with open_store(order.parents["attributions"].path) as store:
                if self.guide == "experts":
                    inside = Representation(str(store.job["options"]["layer"]))
                    experts = _tensors(class_experts(store, wanted, inside.width(calls)), calls)
                else:
                    weights = _tensors(class_weights(store, wanted), calls)

        def task(rows: Rows) -> Task:
            labels = [int(label) for label in rows.labels]
            whole = plain_task(calls, rows, target=torch.as_tensor(rows.labels).to(calls.device))
            if weights:
                whole = replace(whole, weights=torch.stack([weights[label] for label in labels]).unsqueeze(1))
            return replace(whole, aim=torch.stack([experts[label] for label in labels])) if experts else whole

        def columns(rows: Rows, task: Task, made: Made) -> Columns:
            return {"start": starts.origin[rows.positions], "target": rows.labels.astype(np.uint16)}

        return Ready(self.plan(max(subject.meta.shape[1:]), inside), task, columns)

    def plan(self, side: int, inside: Representation | None = None) -> Plan:
        """For images of this side; inside: the layer whose channels are driven, instead of the class."""
        objective = ClassScore(self.objective) if inside is None else Response(inside)
        rule = Strides(self.stride(side), self.radius(side))
        return Plan(self.steps, Pixels(), objective, rule, self.plateau, folds=inside is None)


def _guide(subject: Subject, how: str, asked: str) -> Artifact:
    """The attributions that guide; experts are named by an influence store alone."""
    found = subject.attributions
    if found is None:
        raise UsageError(f"'{asked}' is guided by attributions; give an attributions store as a SOURCE.")
    if how == "experts" and found.kind != "influence":
        raise UsageError(
            f"'{asked}' drives experts, which '{found.path.name}' does not name; "
            "give a store of `explain -m influence`."
        )
    if how == "experts" and found.parents.get("checkpoint") != subject.checkpoint.id:
        raise UsageError(
            f"the experts of '{found.path.name}' are units of another checkpoint; "
            f"explain '{subject.checkpoint.path.name}' itself."
        )
    return found


def _tensors(arrays: Mapping[int, npt.NDArray[Any]], calls: Calls) -> dict[int, Tensor]:
    return {label: torch.as_tensor(array).to(calls.device, calls.dtype) for label, array in arrays.items()}


def class_images(
    *,
    steps: Count = 60,
    step: Positive | None = None,
    eps: Positive | None = None,
    start: Literal["gaussian", "noise", "images"] = "gaussian",
    objective: Literal["logit", "cross-entropy"] = "logit",
    guide: Literal["none", "mask", "experts"] = "none",
    plateau: Share = 0.001,
) -> ClassImages:
    """Images that raise a class's logit, from seeds that look like its training images (Santurkar et al., 2019).

    Normalised l2 steps within an l2 ball around the seed, clipped to [0, 1]. step, eps: pixel values of [0, 1]; auto is
    0.5 within 30 at 32 pixels and 1 within 40 at 128. start: `gaussian` draws from N(mean, covariance + 1e-4) of the
    class's training images averaged over 4x4 blocks, `noise` is uniform, `images` takes those of an images SOURCE.
    guide: `mask` lets the image change where the class's mean attribution in an attributions SOURCE is positive, in
    proportion to it; `experts` drives, in place of the logit, the units that an influence SOURCE (of
    `explain -m influence`) names as the class's most influential, each by its mean influence. plateau: an image is
    finished when ten steps have brought no more than this share of all it has gained; 0 makes all steps. --per-class
    sets how many.
    """
    return ClassImages(steps, step, eps, start, objective, guide, plateau)
