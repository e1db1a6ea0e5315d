"""A contact sheet of an images store: rows are classes, columns are seeds, drawn pixel by pixel."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from xaicli.data.dataset import to_float
from xaicli.files.atomic import publish
from xaicli.files.store import open_store

MOST_COLUMNS = 16
SHOWN_SIDE = 96  # small images are enlarged by whole factors up to about this
GAP = 6
INK, PAPER, MISS = (40, 40, 48), (255, 255, 255), (214, 69, 65)

Pixels = npt.NDArray[np.uint8]


def write_sheet(store_path: Path) -> Path:
    """Write `<store>.png` beside an images store and return its path.

    One row per class with its name, at most 16 images of it; an image that the model takes for another class has a red
    frame.
    """
    with open_store(store_path) as store:
        by = store.column("target") if (store.column("target") < 65535).any() else store.column("label")
        predicted = store.column("prediction").argmax(1)
        classes = store.attributes["classes"]
        rows: list[tuple[str, list[tuple[Pixels, bool]]]] = []
        for label in np.unique(by):
            chosen = np.flatnonzero(by == label)[:MOST_COLUMNS]
            images = store.read(chosen, ["data"])["data"]
            shown = [(to_rgb(image), bool(predicted[n] == label)) for n, image in zip(chosen, images, strict=True)]
            rows.append((str(classes[label]) if label < len(classes) else "unknown", shown))
    path = store_path.with_suffix(".png")
    save_png(_draw(rows), path)
    return path


def _draw(rows: list[tuple[str, list[tuple[Pixels, bool]]]]) -> Image.Image:
    height, width = rows[0][1][0][0].shape[:2]
    factor = max(SHOWN_SIDE // max(height, width), 1)
    height, width = height * factor, width * factor
    font = ImageFont.load_default(size=16)
    margin = max(int(font.getlength(name)) for name, _ in rows) + 3 * GAP
    columns = max(len(images) for _, images in rows)
    sheet = Image.new("RGB", (margin + columns * (width + GAP), GAP + len(rows) * (height + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for r, (name, images) in enumerate(rows):
        top = GAP + r * (height + GAP)
        pen.text((margin - 2 * GAP, top + height / 2), name, fill=INK, font=font, anchor="rm")
        for c, (image, right) in enumerate(images):
            left = margin + c * (width + GAP)
            sheet.paste(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST), (left, top))
            if not right:
                pen.rectangle((left - 2, top - 2, left + width + 1, top + height + 1), outline=MISS, width=2)
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
