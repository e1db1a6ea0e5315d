"""Background images: training data that stands for the absence of evidence, the same images for every row of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset, to_float
from xaicli.errors import InputError, UsageError
from xaicli.explain.training import training_features
from xaicli.files.artifact import Artifact
from xaicli.files.parents import Parents
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, reopen_known
from xaicli.run.features import Training
from xaicli.run.once import Once
from xaicli.run.random import generator
from xaicli.run.settings import Settings


def no_held_out(_count: int) -> Any:
    """What a checkpoint that does not say its data can give."""
    raise UsageError(
        "the checkpoint does not say what data it was trained on, so no rows are known to be held out; use "
        "open-set:scale=image."
    )


def no_background(*_asked: object) -> Any:
    """What a checkpoint that does not say its data can give."""
    raise UsageError(
        "the checkpoint does not say what data it was trained on, so there are no background images; "
        "use a method or a baseline that needs none, such as integrated-gradients:baseline=blur."
    )


@dataclass(frozen=True, eq=False)
class Background:
    """Called with a number, the first so many images of a fixed permutation of the training data (all, if fewer).

    load: reads them, [at most count, C, H, W] in [0, 1], in the model's dtype; with a class as second argument, images
    of that class alone. load_training: the features of all training images. load_held_out: reads images of known
    classes that were held out. Everything is kept for the run, and none of its forwards are among those of a row.
    """

    load: Callable[..., Tensor] = no_background
    load_training: Callable[[Calls], Training] = no_background
    load_held_out: Callable[[int], Tensor] = no_held_out
    once: Once = field(default_factory=Once, repr=False)
    """What depends on nothing but its key, the model and its data."""

    def __call__(self, count: int) -> Tensor:
        """The images, [at most count, C, H, W]."""
        return self.once(("images", count), lambda: self.load(count))

    def of_class(self, label: int, count: int) -> Tensor:
        """The same of one class."""
        return self.once(("images", count, label), lambda: self.load(count, label))

    def held_out(self, count: int) -> Tensor:
        """So many images, or all, that the model was not trained on."""
        return self.once(("held out", count), lambda: self.load_held_out(count))

    def apart(self) -> Background:
        """The same images for another model, whose answers to them are its own."""

        def load(count: int, label: int | None = None) -> Tensor:
            return self(count) if label is None else self.of_class(label, count)

        return Background(load, self.load_training, self.held_out)

    def logits(self, count: int, calls: Calls) -> Tensor:
        """The model's logits [m, K] on the images."""
        return self.once(("logits", count), lambda: calls.apart().logits(self(count)))

    def training(self, calls: Calls) -> Training:
        """What the model makes of all training images."""
        return self.once("training", lambda: self.load_training(calls))


def background_of(
    case: Case, parents: Parents, settings: Settings, calls: Calls, stores: Sequence[Artifact] = ()
) -> Background:
    """The training data that a checkpoint records; opened, and its digest compared, when it is first asked for.

    stores: of features, of which one may hold those of the training data.
    """
    if not case.meta.data_of("train"):
        return Background()

    @cache
    def opened(split: str) -> Dataset:
        return reopen_known(case.meta.data_of(split), case.meta.shape, parents, settings)

    def load(count: int, label: int | None = None, split: str = "train") -> Tensor:
        return torch.as_tensor(draw_images(opened(split), count, label)).to(calls.device, calls.dtype)

    return Background(
        load,
        lambda calls: training_features(case, stores, lambda: opened("train"), calls),
        lambda count: load(count, split="val"),
    )


def draw_images(
    training: Dataset, count: int, label: int | None = None
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The first readable images (of one class) of a permutation fixed per data set: fewer are a subset of more."""
    order = generator(0, f"background:{training.name}").permutation(len(training))
    if label is not None and label >= len(training.classes):
        raise UsageError(
            "no training image is of what is refused; use what does not look at the images of one class, such as "
            "influence:distribution=all."
        )
    if label is not None:
        order = order[training.labels[order] == label]
    found = np.zeros((0, *training.shape), dtype=np.float32)
    for start in range(0, len(order), count):
        images = training.read(order[start : start + count])
        pixels = to_float(images.pixels)
        usable = images.readable & np.isfinite(pixels).all(axis=(1, 2, 3))
        found = np.concatenate([found, pixels[usable]])[:count]
        if len(found) == count:
            break
    if not len(found):
        which = "" if label is None else f" of class '{training.classes[label]}'"
        raise InputError(
            f"the data '{training.name}:{training.split}' has no readable image{which}; restore that data, or use what "
            "needs none."
        )
    return found
