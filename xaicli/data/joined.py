"""Several data sets one after the other, seen as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import UNKNOWN, Dataset, Images, Positions, Rows, to_float
from xaicli.errors import InputError


@dataclass(frozen=True, eq=False, kw_only=True)
class Joined(Dataset):
    """The rows of all parts in order; classes, name and digest are those of the first, rows of the others UNKNOWN."""

    parts: tuple[Dataset, ...]
    part: Rows
    """Which of the parts each row is from, [N]."""
    places: Rows
    """Where it is in that part, [N]."""
    whole: bool
    """Whether all parts hold bytes; else all rows are read as float32, in whatever company."""

    def key(self, position: int) -> str:
        """The sample's name in its part, after that part's name if it is not the first."""
        number, place = int(self.part[position]), int(self.places[position])
        own = self.parts[number].key(place)
        return f"{self.parts[number].name}/{own}" if number else own

    def read(self, positions: Positions) -> Images:
        """Pixels of these rows."""
        chosen = np.asarray(positions, dtype=np.int64)
        part, readable = self.part[chosen], np.ones(len(chosen), dtype=bool)
        found = {int(n): self.parts[n].read(self.places[chosen[part == n]]) for n in np.unique(part)}
        pixels: NDArray[Any] = np.empty((len(chosen), *self.shape), dtype=np.uint8 if self.whole else np.float32)
        for number, images in found.items():
            pixels[part == number] = images.pixels if self.whole else to_float(images.pixels)
            readable[part == number] = images.readable
        return Images(pixels, readable)


def joined(datasets: Sequence[Dataset]) -> Joined:
    """The data sets one after the other, all of one shape.

    Rows keep the order and the distances of their numbers; those of each data set begin where the last one's end, so
    that all are different and ascend. Raises InputError where shapes differ.
    """
    first = datasets[0]
    for other in datasets[1:]:
        if other.shape != first.shape:
            one, two = ("x".join(map(str, dataset.shape)) for dataset in (first, other))
            raise InputError(f"images of {one} and of {two} cannot be joined; name other data.")
    sizes = [len(dataset) for dataset in datasets]
    starts = np.cumsum([0, *(int(one.index[-1]) + 1 if len(one) else 0 for one in datasets)])
    same: dict[str, Any] = {item.name: getattr(first, item.name) for item in fields(Dataset)}
    labels = [first.labels, *(np.full(size, UNKNOWN, dtype=np.int64) for size in sizes[1:])]
    own = {
        "labels": np.concatenate(labels),
        "index": np.concatenate([one.index + start for one, start in zip(datasets, starts, strict=False)]),
        "parts": tuple(datasets),
        "part": np.repeat(np.arange(len(datasets)), sizes),
        "places": np.concatenate([np.arange(size) for size in sizes]),
        "whole": all(one.read(range(min(1, len(one)))).pixels.dtype == np.uint8 for one in datasets),
    }
    return Joined(**{**same, **own})
