"""What the pictures of `shapes` show: objects, distractors and backgrounds, drawn at random but without the class.

A scene depends on (split, row) alone. Nothing of it but the outline of the object is chosen by the class: places,
sizes, turns, colours and textures are drawn without a look at the class, so that none of them can tell it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Rows
from xaicli.data.outlines import DISTRACTORS, OUTLINES, Field, Outline, length
from xaicli.data.patterns import PATTERNS

GENERATOR = 1
"""The version of the drawings: to be raised whenever a pixel changes. It is the key of all random numbers."""

NUMBERS = 192
"""Random numbers set aside for each scene; those of the grain follow."""

COARSE, FINE = 4, 8
"""Cells per side of the two layers of blotches in the background."""

TILT = 0.27
"""Tangent of half the largest angle by which an object is turned, 30 degrees; distractors lie anyhow."""

GAP = 0.06
"""At least so far are the circles around object and distractor apart, in half sides of the picture."""

TRIES = 12
"""Places tried for a distractor before the corner opposite the object is taken, which is always free."""

OBJECTS: tuple[Outline, ...] = tuple(OUTLINES.values())
SPLIT_NUMBERS = {"train": 0, "test": 1}


@dataclass(frozen=True, eq=False)
class Fill:
    """Two colours and the texture that blends them; fields are [n, 1, 1]."""

    pattern: Rows
    frequency: Field
    phase: Field
    light: tuple[Field, Field]
    colourfulness: Field
    hue: tuple[Field, Field]


@dataclass(frozen=True, eq=False)
class Thing:
    """An object or a distractor: one outline inside a circle; fields are [n, 1, 1] in half sides of the picture."""

    outlines: tuple[Outline, ...]
    number: Rows
    """Which of the outlines each row has, [n]."""
    vary: Field
    x: Field
    y: Field
    radius: Field
    cosine: Field
    sine: Field
    fill: Fill


@dataclass(frozen=True, eq=False)
class Scenes:
    """Everything that is to be seen in some rows; the grain is left to the sampler, since it has one number a pixel."""

    object: Thing
    distractor: Thing
    background: Fill
    coarse: Field
    fine: Field
    """The lattices of the background's blotches, [n, g, g]."""
    roughness: Field
    grain: Field


class Numbers:
    """The random numbers of some rows, handed out in a fixed order."""

    def __init__(self, split: str, rows: Rows) -> None:
        # Raw output of Philox and exact arithmetic: numpy keeps these stable, unlike the methods of its Generator.
        raw = np.stack([stream(split, 0, int(row)).random_raw(NUMBERS) for row in rows])
        self._columns = (raw >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
        self._used = 0

    def take(self, low: float = 0.0, high: float = 1.0) -> Field:
        """The next number of each row in [low, high), [n, 1, 1]."""
        return low + (high - low) * self.lattice(1)

    def rare(self) -> Field:
        """The next number, cubed: seldom large. What makes a picture hard is rare, so that learning starts fast."""
        number = self.take()
        return number * number * number

    def lattice(self, side: int) -> Field:
        """The next side x side numbers of each row in [0, 1), [n, side, side]."""
        first, self._used = self._used, self._used + side * side
        return self._columns[:, first : self._used].reshape(-1, side, side)

    def pick(self, count: int) -> Rows:
        """The next number of each row as one of 0 .. count - 1, [n]."""
        chosen = (self.take()[:, 0, 0] * count).astype(np.int64)
        # The largest number below 1, times `count`, may round up to it.
        return np.minimum(chosen, count - 1)


def stream(split: str, purpose: int, row: int) -> np.random.Philox:
    """The random stream of a row; purpose 0 draws its picture, 1 (row 0) the classes of all rows."""
    return np.random.Philox(key=GENERATOR, counter=[0, purpose, row, SPLIT_NUMBERS[split]])


def class_numbers(split: str, count: int) -> Rows:
    """The class of the first `count` rows: every ten rows hold each class once, in a random order."""
    tens = -(-count // len(OBJECTS))
    raw = stream(split, 1, 0).random_raw(tens * len(OBJECTS)).reshape(tens, -1)
    return raw.argsort(axis=1, kind="stable").reshape(-1)[:count].astype(np.int64)


def compose(split: str, rows: Rows, labels: Rows, *, reach: tuple[float, float] = (1.0, 1.0)) -> Scenes:
    """Draw the scenes of these rows.

    labels: the class of each row. reach: half width and half height of the picture, the shorter being 1.
    """
    numbers = Numbers(split, rows)
    radius = 0.66 - 0.37 * numbers.rare()
    x, y = ((side - radius) * numbers.take(-1, 1) for side in reach)
    background, light = _background(numbers)
    main = Thing(OBJECTS, labels, numbers.take(), x, y, radius, *_turn(numbers, TILT), _paint(numbers, light))
    return Scenes(
        object=main,
        distractor=_distractor(numbers, main, light, reach),
        background=background,
        coarse=numbers.lattice(COARSE + 1),
        fine=numbers.lattice(FINE + 1),
        roughness=numbers.take(0.1, 0.5),
        grain=0.02 + 0.28 * numbers.rare(),
    )


def _background(numbers: Numbers) -> tuple[Fill, Field]:
    light = numbers.take(0.15, 0.85)
    hue = numbers.take()
    fill = Fill(
        pattern=numbers.pick(len(PATTERNS)),
        frequency=numbers.take(0.8, 2.5),
        phase=numbers.take(),
        light=(light - 0.12, light + 0.12),
        colourfulness=numbers.take(0.0, 0.2),
        hue=(hue, hue + numbers.take(-0.2, 0.2)),
    )
    return fill, light


def _paint(numbers: Numbers, behind: Field) -> Fill:
    """Colours that stand out from a background of this light."""
    away = np.where(behind < 0.5, 1, -1).astype(np.float32)
    light = behind + away * (0.48 - 0.45 * numbers.rare())
    hue = numbers.take()
    return Fill(
        pattern=numbers.pick(len(PATTERNS)),
        frequency=numbers.take(1.2, 2.4),
        phase=numbers.take(),
        light=(light, light + away * numbers.take(-0.05, 0.2)),
        colourfulness=numbers.take(0.1, 0.4),
        hue=(hue, hue + numbers.take(0.1, 0.5)),
    )


def _turn(numbers: Numbers, most: float) -> tuple[Field, Field]:
    """Cosine and sine of a random angle, from the tangent of its half (at most `most`): exact arithmetic only."""
    tangent = most * numbers.take(-1, 1)
    square = tangent * tangent
    return (1 - square) / (1 + square), 2 * tangent / (1 + square)


def _distractor(numbers: Numbers, main: Thing, behind: Field, reach: tuple[float, float]) -> Thing:
    """A thing of no class beside the object: its circle and the object's do not touch."""
    radius = numbers.take(0.15, 0.24)
    apart = main.radius + radius + GAP
    x, y = (np.where(place > 0, -1, 1) * (side - radius) for place, side in zip((main.x, main.y), reach, strict=True))
    for _ in range(TRIES):
        new_x, new_y = ((side - radius) * numbers.take(-1, 1) for side in reach)
        free = length(new_x - main.x, new_y - main.y) >= apart
        x, y = np.where(free, new_x, x), np.where(free, new_y, y)
    number = numbers.pick(len(DISTRACTORS))
    return Thing(DISTRACTORS, number, numbers.take(), x, y, radius, *_turn(numbers, 1), _paint(numbers, behind))


Colours = NDArray[np.floating[Any]]


def colours(fill: Fill, channels: int) -> tuple[Colours, Colours]:
    """The two colours of a fill, [n, C, 1, 1]: a light, and a hue that leaves the mean of the channels alone."""
    first, second = (
        np.clip(light[:, None] + fill.colourfulness[:, None] * _hue_wave(hue[:, None], channels), 0.02, 0.98)
        for light, hue in zip(fill.light, fill.hue, strict=True)
    )
    return first, second


def _hue_wave(hue: Colours, channels: int) -> Colours:
    """In [-1, 1]: one period of a triangle wave spread over the channels, less its mean; zero for a single channel."""
    phase = hue + (np.arange(channels, dtype=np.float32) / np.float32(channels)).reshape(1, -1, 1, 1)
    wave = np.abs(phase - np.floor(phase) - 0.5) * 4 - 1
    total = sum(wave[:, channel : channel + 1] for channel in range(channels))
    centred: Colours = wave - total / np.float32(channels)
    return centred
