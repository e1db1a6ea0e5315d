"""A contact sheet: images in named rows and groups of columns, drawn pixel by pixel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from xaicli.data.dataset import to_float
from xaicli.files.atomic import publish

SHOWN_SIDE = 96  # small images are enlarged by whole factors up to about this
GAP = 6
APART = 14  # more between groups of columns
LINE = 16
INK, PAPER, MISS = (40, 40, 48), (255, 255, 255), (214, 69, 65)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """An image on a sheet, what is said below it, and whether it is framed in red."""

    image: Pixels
    caption: str = ""
    framed: bool = False


@dataclass(frozen=True)
class Group:
    """Columns that belong together, with what stands above them: a list of tiles for every row of the sheet."""

    rows: Sequence[Sequence[Tile]]
    title: str = ""

    @property
    def columns(self) -> int:
        """As many as its longest row has tiles."""
        return max(len(row) for row in self.rows)


def draw_sheet(names: Sequence[str], groups: Sequence[Group]) -> Image.Image:
    """Rows with their names at the left, groups of columns beside each other."""
    first = next(tile for group in groups for row in group.rows for tile in row)
    tall, wide = first.image.shape[:2]
    factor = max(SHOWN_SIDE // max(tall, wide), 1)
    tall, wide = tall * factor, wide * factor
    font, small = ImageFont.load_default(size=16), ImageFont.load_default(size=11)
    margin = max(int(font.getlength(name)) for name in names) + 3 * GAP
    top = LINE if any(group.title for group in groups) else 0
    said = LINE if any(tile.caption for group in groups for row in group.rows for tile in row) else 0
    columns = sum(group.columns for group in groups)
    size = margin + columns * (wide + GAP) + (len(groups) - 1) * APART, top + GAP + len(names) * (tall + said + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)

    def write(text: str, middle: float, line: float, room: float) -> None:
        while len(text) > 1 and small.getlength(text) > room:
            text = text[:-2] + "…"
        pen.text((middle, line), text, fill=INK, font=small, anchor="mm")

    for r, name in enumerate(names):
        pen.text(
            (margin - 2 * GAP, top + GAP + r * (tall + said + GAP) + tall / 2), name, fill=INK, font=font, anchor="rm"
        )
    left = margin
    for group in groups:
        width = group.columns * (wide + GAP) - GAP
        write(group.title, left + width / 2, LINE / 2 + GAP / 2, width + APART)
        for r, row in enumerate(group.rows):
            for c, tile in enumerate(row):
                x, y = left + c * (wide + GAP), top + GAP + r * (tall + said + GAP)
                sheet.paste(Image.fromarray(tile.image).resize((wide, tall), Image.Resampling.NEAREST), (x, y))
                if tile.framed:
                    pen.rectangle((x - 2, y - 2, x + wide + 1, y + tall + 1), outline=MISS, width=2)
                write(tile.caption, x + wide / 2, y + tall + said / 2 + 1, wide + GAP - 2)
        left += width + GAP + APART
    return sheet


def to_rgb(image: npt.NDArray[Any]) -> Pixels:
    """An image [C, H, W], uint8 or in [0, 1], as uint8 [H, W, 3]; other channel counts are shown by their mean."""
    pixels = np.nan_to_num(to_float(image))
    if len(pixels) != 3:
        pixels = np.repeat(pixels.mean(0, keepdims=True), 3, axis=0)
    return (pixels.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)


def save_png(image: Image.Image, path: Path) -> None:
    """Publish a picture: complete or not at all."""
    with publish(path) as file:
        file.write(png(image))


def png(image: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
