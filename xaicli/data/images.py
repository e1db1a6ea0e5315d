"""Image files as a person would see them: any of five formats to bytes of one or three channels; never a crash."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Images
from xaicli.data.png import is_whole
from xaicli.data.resize import resize_to

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

MOST_PIXELS = 1 << 26
"""A file of some kilobytes may claim gigapixels (a decompression bomb); photographs stay below this."""

GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I", "F")
SIDEWAYS = (5, 6, 7, 8)
"""The EXIF orientations that swap height and width."""

ORIENTATION = 0x0112
"""The EXIF tag."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image say; height and width as shown."""

    grey: bool
    height: int
    width: int


def read_image(path: Path, channels: int, height: int, width: int) -> NDArray[np.uint8] | None:
    """The image [C, H, W] at this size, or None if it is damaged, too large, gone, or of no accepted format.

    The format is told by the content. The orientation in EXIF is applied, transparency is laid on white, 16 bits become
    8 (grey by rounding, colours by their upper byte), palettes become colours; three channels are RGB, one is the
    luminance. Of several frames it is the first.
    """
    with _quietly():
        return _read(path, channels, height, width)


def read_images(paths: Sequence[Path], channels: int, height: int, width: int, *, threads: int = 1) -> Images:
    """Such images [n, C, H, W], in the order given; a file that cannot be read is marked."""
    pixels = np.zeros((len(paths), channels, height, width), dtype=np.uint8)
    readable = np.zeros(len(paths), dtype=bool)

    def fill(row: int) -> None:
        image = _read(paths[row], channels, height, width)
        if image is not None:
            pixels[row], readable[row] = image, True

    # Pillow decodes and resizes without holding the interpreter; each row is written by one thread.
    with _quietly():
        if min(threads, len(paths)) > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, range(len(paths))))
        else:
            for row in range(len(paths)):
                fill(row)
    return Images(pixels, readable)


def _read(path: Path, channels: int, height: int, width: int) -> NDArray[np.uint8] | None:
    def decode(image: Image) -> NDArray[np.uint8]:
        image.load()
        if image.format == "PNG" and _may_lack_rows(image) and not is_whole(path):
            raise ValueError("the image data ends early")
        sized = resize_to(_plain(image, "RGB" if channels == 3 else "L"), height, width)
        return np.asarray(sized, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)

    return _opened(path, decode)


def read_header(path: Path) -> Header | None:
    """Kind and size without decoding the pixels; None if the file is no accepted image."""

    def look(image: Image) -> Header:
        sideways = image.getexif().get(ORIENTATION) in SIDEWAYS
        width, height = reversed(image.size) if sideways else image.size
        return Header(image.mode in GREY_MODES, height, width)

    with _quietly():
        return _opened(path, look)


def looks_like_image(path: Path) -> bool:
    """Whether a file without a usual suffix starts like an image of an accepted format."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    starts = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")
    return (
        head.startswith(starts)
        or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """No warnings of odd metadata. Python's filters belong to the process: this goes around threads, not into them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opened(path: Path, use: Callable[[Image], Result]) -> Result | None:
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            return use(image) if image.width * image.height <= MOST_PIXELS else None
    except Exception:  # decoders of hostile files raise anything
        return None


def _may_lack_rows(image: Image) -> bool:
    """Whether the last row is blank, as it is when data is missing; of interlaced images nobody can tell so easily."""
    bottom = image.crop((0, image.height - 1, image.width, image.height))
    return bool(image.info.get("interlace")) or not np.asarray(bottom).any()


def _plain(image: Image, mode: str) -> Image:
    """Upright, without transparency, in bytes, as `RGB` or `L`."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image) or image
    if upright.mode.startswith("I"):
        upright = _bytes(np.asarray(upright).astype(np.float64) / 65535)
    elif upright.mode == "F":
        upright = _bytes(np.asarray(upright).astype(np.float64))
    if upright.has_transparency_data:
        colours = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return upright.convert(mode)


def _bytes(values: NDArray[np.float64]) -> Image:
    """Deep grey in [0, 1] as bytes; ValueError where there is more, since nobody can tell what white is then."""
    from PIL import Image

    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError("the values do not lie between black and white")
    return Image.fromarray(np.floor(values * 255 + 0.5).astype(np.uint8))
