"""Whether a PNG holds all the pixels that it claims; Pillow shows what is missing as black, without a word."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values a pixel, by colour type."""

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row and their steps in the seven passes of an interlaced image (PNG specification, 8.2)."""


def is_whole(path: Path) -> bool:
    """Whether the image data inflates to as many bytes as the header's size takes.

    path: of a PNG whose chunks are well formed; what goes wrong otherwise is the caller's to catch.
    """
    with path.open("rb") as file:
        data = file.read()
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    wanted = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            wanted += rows * (1 + (columns * depth * SAMPLES[colour] + 7) // 8)  # a row begins with its filter
    stream = zlib.decompressobj()
    for part in _image_data(data):
        while part and wanted > 0:
            wanted -= len(stream.decompress(part, 1 << 16))
            part = stream.unconsumed_tail
    return wanted <= 0


def _image_data(data: bytes) -> Iterator[bytes]:
    place = 8
    while place + 12 <= len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            yield data[place + 8 : place + 8 + size]
        place += 12 + size
