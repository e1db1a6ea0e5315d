"""Where generated images begin: seeds that look like a class's training images, noise, or given images.

Starts are a data set like any other (row i is image i), so that generation goes through the same block loop as
everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import UNKNOWN, Dataset, Images, Positions, to_float
from xaicli.errors import InputError
from xaicli.run.random import Stream, generator

POOL = 4  # training images are averaged over 4x4 blocks before their Gaussian is fitted
JITTER = 1e-4
MOST_IMAGES = 2000  # of a class; the covariance has a few hundred dimensions

Draw = Callable[[int, int], npt.NDArray[np.float32]]  # (row, class) -> [C, H, W]


@dataclass(frozen=True, eq=False, kw_only=True)
class Starts(Dataset):
    """One start per image to be made; its label is the class to be driven."""

    draw: Draw

    def key(self, position: int) -> str:
        """Class and number, such as `circle-003`."""
        label = int(self.labels[position])
        return f"{self.classes[label]}-{int((self.labels[:position] == label).sum()):03d}"

    def read(self, positions: Positions) -> Images:
        """The starts themselves, float32 in [0, 1]."""
        pixels = np.stack([self.draw(int(p), int(self.labels[p])) for p in positions])
        return Images(pixels.astype(np.float32), np.ones(len(pixels), dtype=bool))


def make_starts(
    draw: Draw,
    *,
    name: str,
    digest: str,
    classes: tuple[str, ...],
    wanted: Sequence[int],
    each: int,
    shape: Sequence[int],
) -> Starts:
    """`each` starts for every wanted class, class by class."""
    labels = np.repeat(np.asarray(wanted, dtype=np.int64), each)
    channels, height, width = shape
    return Starts(
        name=name,
        split="",
        classes=classes,
        channels=channels,
        height=height,
        width=width,
        labels=labels,
        index=np.arange(len(labels), dtype=np.int64),
        digest=digest,
        draw=draw,
    )


def gaussian_draw(training: Dataset, wanted: Sequence[int], seed: int) -> Draw:
    """Seeds from N(mean_c, covariance_c + 1e-4 I) of the class's training images in 4x4 averages, upsampled."""
    fitted = {label: _fit(training, label) for label in wanted}
    channels, height, width = training.shape
    rows, columns = -(-height // POOL), -(-width // POOL)

    def draw(row: int, label: int) -> npt.NDArray[np.float32]:
        mean, root = fitted[label]
        normal = generator(seed, f"class-images:gaussian:{label}", row).standard_normal(len(mean))
        small = (mean + root @ normal).reshape(channels, rows, columns)
        whole = small.repeat(POOL, axis=1).repeat(POOL, axis=2)[:, :height, :width]
        return np.clip(whole, 0, 1).astype(np.float32)

    return draw


def noise_draw(shape: Sequence[int], seed: int) -> Draw:
    """Uniform noise."""
    return lambda row, label: Stream(seed, "class-images:noise", (row,)).uniform(shape)[0]


def given_draw(images: Dataset, each: int) -> Draw:
    """The first images of a store, the same ones for every class."""
    if len(images) < each:
        raise InputError(f"{each} starts a class were asked for, but the images store has {len(images)} rows.")
    return lambda row, label: to_float(images.read([row % each]).pixels)[0]


def _fit(training: Dataset, label: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and a square root of the covariance of one class, in block averages."""
    positions = np.flatnonzero(training.labels == label)[:MOST_IMAGES]
    if label == UNKNOWN or len(positions) < 2:
        raise InputError(f"class '{training.classes[label]}' has fewer than two training images to draw seeds from.")
    images = to_float(training.read(positions).pixels).astype(np.float64)
    averaged = block_average(images).reshape(len(images), -1)
    covariance = np.cov(averaged, rowvar=False) + JITTER * np.eye(averaged.shape[1])
    return averaged.mean(0), np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)


def block_average(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means over 4x4 blocks, [n, C, ceil(H/4), ceil(W/4)]; a last block that is not full repeats the edge."""
    height, width = images.shape[2:]
    padded = np.pad(images, ((0, 0), (0, 0), (0, -height % POOL), (0, -width % POOL)), mode="edge")
    n, channels, tall, wide = padded.shape
    blocks = padded.reshape(n, channels, tall // POOL, POOL, wide // POOL, POOL)
    return np.asarray(blocks.mean((3, 5)), dtype=np.float64)
