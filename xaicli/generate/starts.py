"""Where generated images begin: seeds that look like a class's training images, noise, or given images.

Starts are a data set like any other (row i is image i), so that generation goes through the same block loop as
everything. A start depends on what is driven and its number alone, not on what else is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import UNKNOWN, Dataset, Images, Positions, to_float
from xaicli.errors import InputError
from xaicli.run.random import Stream, generator

POOL = 4  # training images are averaged over 4x4 blocks before their Gaussian is fitted
JITTER = 1e-4
READ_ROWS = 256

Draw = Callable[[int, int], npt.NDArray[np.float32]]  # (class or unit, number) -> [C, H, W]


@dataclass(frozen=True, eq=False, kw_only=True)
class Starts(Dataset):
    """One start per image to be made; its label is the class to be driven, if it is one."""

    draw: Draw
    driven: npt.NDArray[np.int64]
    """[N], the number of the class, or of the unit."""
    number: npt.NDArray[np.int64]
    """[N], which of its images it is, from 0 on."""
    origin: npt.NDArray[np.int64]
    """[N], row of the image begun from in its store, -1 where there is none."""

    def key(self, position: int) -> str:
        """What is driven, and a number, such as `circle-003`."""
        driven = int(self.driven[position])
        name = self.classes[driven] if self.labels[position] != UNKNOWN else f"unit{driven:04d}"
        return f"{name}-{int(self.number[position]):03d}"

    def read(self, positions: Positions) -> Images:
        """The starts themselves, float32 in [0, 1]."""
        pixels = np.stack([self.draw(int(self.driven[p]), int(self.number[p])) for p in positions])
        return Images(pixels.astype(np.float32), np.ones(len(pixels), dtype=bool))


def make_starts(
    draw: Draw,
    *,
    name: str,
    digest: str,
    classes: tuple[str, ...],
    driven: Sequence[int],
    each: int,
    shape: Sequence[int],
    begun: npt.NDArray[np.int64] | None = None,
    units: bool = False,
) -> Starts:
    """`each` starts for every class (or unit) driven, one class after the other.

    begun: the rows [each] of the images begun from. units: what is driven is no class.
    """
    all_driven = np.repeat(np.asarray(driven, dtype=np.int64), each)
    number = np.tile(np.arange(each, dtype=np.int64), len(driven))
    origin = np.full(len(number), -1) if begun is None else begun[number]
    channels, height, width = shape
    return Starts(
        name=name,
        split="",
        classes=classes,
        channels=channels,
        height=height,
        width=width,
        labels=np.full(len(number), UNKNOWN, dtype=np.int64) if units else all_driven.copy(),
        index=np.arange(len(number), dtype=np.int64),
        digest=digest,
        draw=draw,
        driven=all_driven,
        number=number,
        origin=origin.astype(np.int64),
    )


def gaussian_draw(training: Dataset, wanted: Sequence[int], seed: int) -> Draw:
    """Seeds from N(mean_c, covariance_c + 1e-4 I) of the class's training images in 4x4 averages, upsampled.

    The deviations of the class's images, weighted by independent normal numbers, have its covariance: no matrix of the
    size of the image squared is needed.
    """
    for label in wanted:
        if int((training.labels == label).sum()) < 2:
            name = training.classes[label]
            raise InputError(f"class '{name}' has fewer than two training images to draw seeds from; use start=noise.")
    channels, height, width = training.shape
    rows, columns = -(-height // POOL), -(-width // POOL)

    @lru_cache(maxsize=1)  # starts come class by class
    def fitted(label: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        averaged = _averages(training, label)
        return averaged.mean(0), (averaged - averaged.mean(0)) / np.sqrt(len(averaged) - 1)

    def draw(label: int, number: int) -> npt.NDArray[np.float32]:
        mean, deviations = fitted(label)
        rng = generator(seed, f"class-images:gaussian:{label}", number)
        small = mean + rng.standard_normal(len(deviations)) @ deviations
        small = small + np.sqrt(JITTER) * rng.standard_normal(len(mean))
        whole = small.reshape(channels, rows, columns).repeat(POOL, axis=1).repeat(POOL, axis=2)[:, :height, :width]
        return np.asarray(np.clip(whole, 0, 1), dtype=np.float32)

    return draw


def noise_draw(shape: Sequence[int], seed: int, stream: str) -> Draw:
    """Uniform noise."""
    return lambda driven, number: Stream(seed, f"{stream}:{driven}", (number,)).uniform(shape)[0]


def given_draw(images: Dataset, each: int) -> Draw:
    """The first images of a store, the same ones for every class."""
    if len(images) < each:
        raise InputError(f"{each} starts a class were asked for, but the images store has {len(images)} rows.")
    return lambda driven, number: to_float(images.read([number]).pixels)[0]


def _averages(training: Dataset, label: int) -> npt.NDArray[np.float64]:
    """All training images of one class in block averages, [m, values]."""
    positions = np.flatnonzero(training.labels == label)
    parts = []
    for start in range(0, len(positions), READ_ROWS):
        images = to_float(training.read(positions[start : start + READ_ROWS]).pixels).astype(np.float64)
        parts.append(block_average(images).reshape(len(images), -1))
    return np.concatenate(parts)


def block_average(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means over 4x4 blocks, [n, C, ceil(H/4), ceil(W/4)]; a last block that is not full repeats the edge."""
    height, width = images.shape[2:]
    padded = np.pad(images, ((0, 0), (0, 0), (0, -height % POOL), (0, -width % POOL)), mode="edge")
    n, channels, tall, wide = padded.shape
    blocks = padded.reshape(n, channels, tall // POOL, POOL, wide // POOL, POOL)
    return np.asarray(blocks.mean((3, 5)), dtype=np.float64)
