"""One picture of `shapes`: what is drawn where and in which colours, and how it becomes pixels.

A scene depends on (split, row) alone; its size and number of channels decide only how finely it is sampled. Nothing but
the outline is chosen by the class: place, size, turn, colours and textures of object, distractor and background are
drawn before the class is looked at, so that none of them can tell it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.outlines import DISTRACTORS, OUTLINES, Field, Outline
from xaicli.data.patterns import PATTERNS, clouds

GENERATOR = 1
"""The version of this file's drawing: raised whenever a pixel changes."""

COARSE, FINE = 4, 7
"""Lattice points per side of the two layers of the background's blotches."""

GAP = 0.06
"""Between the circles that hold object and distractor, in half sides of the image."""

OUTLINE_LIST: tuple[Outline, ...] = tuple(OUTLINES.values())
SPLIT_NUMBERS = {"train": 0, "test": 1}


@dataclass(frozen=True, eq=False)
class Thing:
    """An object, a distractor or a background of every scene; each array is float32 [n, 1, 1]."""

    x: Field
    y: Field
    radius: Field
    cosine: Field
    sine: Field
    vary: Field
    pattern: NDArray[np.int64]
    frequency: Field
    phase: Field
    colours: tuple[Field, Field]
    """Two, each [n, C, 1, 1]."""


def uniform(split: str, rows: NDArray[np.int64], words: int) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Raw random words of each row and the same as numbers in [0, 1): Philox, whose output numpy keeps stable."""
    raw = np.empty((len(rows), words), dtype=np.uint64)
    for row, line in zip(rows, raw, strict=True):
        line[:] = np.random.Philox(key=GENERATOR, counter=[0, 0, int(row), SPLIT_NUMBERS[split]]).random_raw(words)
    return (raw >> np.uint64(11)) * 2.0**-53, raw
