"""Background images: training data that stands for the absence of evidence, the same images for every row of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset, to_float
from xaicli.errors import InputError, UsageError
from xaicli.files.parents import Parents
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, reopen_data
from xaicli.run.random import generator
from xaicli.run.settings import Settings


def no_background(count: int) -> Tensor:
    """What a checkpoint that does not say its data can give."""
    raise UsageError(
        "the checkpoint does not say what data it was trained on, so there are no background images; "
        "use a method or a baseline that needs none, such as integrated-gradients:baseline=blur."
    )


@dataclass(frozen=True, eq=False)
class Background:
    """Called with a number, the first so many images of a fixed permutation of the training data (all, if fewer).

    load: reads them, [at most count, C, H, W] in [0, 1], in the model's dtype. Images and logits are kept for the run.
    """

    load: Callable[[int], Tensor] = no_background
    _images: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _logits: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, count: int) -> Tensor:
        """The images, [at most count, C, H, W]."""
        if count not in self._images:
            self._images[count] = self.load(count)
        return self._images[count]

    def logits(self, count: int, calls: Calls) -> Tensor:
        """The model's logits [m, K] on these images, asked once a run: they are not among the forwards of any row."""
        if count not in self._logits:
            apart = Calls(calls.classifier, batch_size=calls.batch_size)
            self._logits[count] = apart.logits(self(count))
        return self._logits[count]


def background_of(case: Case, parents: Parents, settings: Settings, calls: Calls) -> Background:
    """The training data that a checkpoint records; opened, and its digest compared, when it is first asked for."""
    recorded = dict(case.meta.data or {})
    if not recorded.get("name"):
        return Background()

    def load(count: int) -> Tensor:
        training = reopen_data({**recorded, "split": "train"}, case.meta.shape, parents, settings)
        return torch.as_tensor(draw_images(training, count)).to(calls.device, calls.dtype)

    return Background(load)


def draw_images(training: Dataset, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The first readable images of a permutation that is fixed per data set: fewer are a subset of more."""
    order = generator(0, f"background:{training.name}").permutation(len(training))
    found = np.zeros((0, *training.shape), dtype=np.float32)
    for start in range(0, len(order), count):
        images = training.read(order[start : start + count])
        pixels = to_float(images.pixels)
        usable = images.readable & np.isfinite(pixels).all(axis=(1, 2, 3))
        found = np.concatenate([found, pixels[usable]])[:count]
        if len(found) == count:
            break
    if not len(found):
        raise InputError(f"the data '{training.name}:{training.split}' has no readable image; restore that data.")
    return found
