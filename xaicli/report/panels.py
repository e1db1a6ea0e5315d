"""Pictures in rows and columns: every cell an image with a line of text below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from xaicli.report.sheet import GAP, INK, PAPER

SIDE = 96  # of a cell; small images are enlarged by whole factors, large ones are scaled down
LINE = 15


@dataclass(frozen=True)
class Cell:
    """An image with what is said below it."""

    image: npt.NDArray[Any]  # uint8 [H, W, 3]
    caption: str = ""
    colour: tuple[int, int, int] = INK


def draw_panels(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Image.Image:
    """A row of cells below each other, with a word above each column."""
    font = ImageFont.load_default(size=11)
    sheet = Image.new("RGB", (GAP + len(heads) * (SIDE + GAP), GAP + LINE + len(rows) * (SIDE + LINE + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)

    def write(text: str, column: int, top: int, colour: tuple[int, int, int] = INK) -> None:
        while len(text) > 1 and font.getlength(text) > SIDE + GAP - 2:
            text = text[:-2] + "…"
        middle = GAP + column * (SIDE + GAP) + SIDE / 2
        pen.text((middle, top + LINE / 2), text, fill=colour, font=font, anchor="mm")

    for column, head in enumerate(heads):
        write(head, column, GAP // 2)
    for number, cells in enumerate(rows):
        top = GAP + LINE + number * (SIDE + LINE + GAP)
        for column, cell in enumerate(cells):
            picture = scaled(cell.image)
            left = GAP + column * (SIDE + GAP) + (SIDE - picture.width) // 2
            sheet.paste(picture, (left, top + (SIDE - picture.height) // 2))
            write(cell.caption, column, top + SIDE, cell.colour)
    return sheet


def scaled(image: npt.NDArray[Any]) -> Image.Image:
    """The image as large as fits into a cell: pixels stay squares when it is enlarged."""
    picture, factor = Image.fromarray(np.ascontiguousarray(image)), SIDE / max(image.shape[:2])
    if factor >= 1:
        whole = int(factor)
        return picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
    size = max(round(picture.width * factor), 1), max(round(picture.height * factor), 1)
    return picture.resize(size, Image.Resampling.BOX)
