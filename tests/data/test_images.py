"""Image files of true formats, and hostile ones, read to known pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xaicli.data.images import Header, looks_like_image, read_header, read_image
from xaicli.data.resize import resize_to

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def pixel(path: Path, channels: int = 3) -> list[int]:
    """The only pixel of a 1x1 image."""
    image = read_image(path, channels, 1, 1)
    assert image is not None
    return [int(value) for value in image[:, 0, 0]]


def png(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG that claims any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
    ],
)
def test_every_format_is_read_by_content_whatever_its_name(tmp_path: Path, name: str, options: dict[str, int]) -> None:
    colours = np.zeros((8, 12, 3), dtype=np.uint8)
    colours[:, :, 0], colours[:, :, 1] = 200, np.arange(12) * 20
    path = tmp_path / "image.png"
    Image.fromarray(colours).save(path, name, **options)
    image = read_image(path, 3, 8, 12)
    assert image is not None and image.dtype == np.uint8
    assert np.abs(image.transpose(1, 2, 0).astype(int) - colours).max() <= (3 if name == "JPEG" else 0)
    assert read_header(path) == Header(grey=False, height=8, width=12)
    assert looks_like_image(path)


def test_modes(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("L", (1, 1), 77).save(path)
    assert (pixel(path), pixel(path, 1)) == ([77, 77, 77], [77])
    Image.new("1", (1, 1), 1).save(path)
    assert pixel(path, 1) == [255]
    Image.new("RGB", (1, 1), RED).save(path)
    assert pixel(path, 1) == [76]  # ITU-R 601: 0.299 of 255
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([*WHITE, *BLUE])
    palette.save(path)
    assert (pixel(path), pixel(path, 1)) == ([0, 0, 255], [29])
    Image.new("CMYK", (1, 1), (255, 0, 0, 0)).save(tmp_path / "x.tif")
    assert pixel(tmp_path / "x.tif") == [0, 255, 255]


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGBA", (1, 1), (255, 0, 0, 0)).save(path)
    assert pixel(path) == [255, 255, 255]
    Image.new("RGBA", (1, 1), (255, 0, 0, 51)).save(path)
    assert pixel(path) == [255, 204, 204]
    Image.new("LA", (1, 1), (0, 51)).save(path)
    assert pixel(path, 1) == [204]
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([*WHITE, *BLUE])
    palette.save(path, transparency=1)
    assert pixel(path) == [255, 255, 255]
    Image.new("RGB", (1, 1), GREEN).save(path, transparency=GREEN)
    assert pixel(path) == [255, 255, 255]


def test_sixteen_bits_become_eight_by_rounding(tmp_path: Path) -> None:
    deep = np.array([[0, 128, 129, 257 * 100, 65535]], dtype=np.uint16)
    for name in ("x.png", "x.tif"):
        Image.fromarray(deep).save(tmp_path / name)
        image = read_image(tmp_path / name, 1, 1, 5)
        assert image is not None
        assert image[0, 0].tolist() == [0, 0, 1, 100, 255]
        assert read_header(tmp_path / name) == Header(grey=True, height=1, width=5)


def test_floats_are_read_between_zero_and_one_only(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    for values, expected in (([[0.0, 0.5, 1.0]], [0, 128, 255]), ([[0.0, 1.5, 2.0]], None), ([[0.0, np.nan]], None)):
        array = np.array(values, dtype=np.float32)
        Image.fromarray(array).save(path)
        image = read_image(path, 1, *array.shape)
        assert (None if image is None else image[0, 0].tolist()) == expected


# Where the top row and the left column of the stored pixels are shown, by the EXIF standard.
@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, shown: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.png"
    Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)).save(path, exif=exif)
    height, width = len(shown), len(shown[0])
    assert read_header(path) == Header(grey=True, height=height, width=width)
    image = read_image(path, 1, height, width)
    assert image is not None
    assert image[0].tolist() == shown


def test_hostile_and_damaged_files_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    Image.new("L", (4, 4)).save(tmp_path / "x.gif")
    cases = {
        "truncated": whole[: len(whole) // 2],
        "bit flipped": bytes(flipped),
        "empty": b"",
        "text": b"not an image",
        "bomb of a gigapixel": png(1 << 15, 1 << 15, b"\0"),
        "bomb of many gigapixels": png(1 << 20, 1 << 20, b"\0"),
        "no accepted format": (tmp_path / "x.gif").read_bytes(),
    }
    for case, data in cases.items():
        path.write_bytes(data)
        assert read_image(path, 3, 8, 8) is None, case
    assert read_image(tmp_path / "gone.png", 3, 8, 8) is None
    path.write_bytes(png(3, 1, b"\0\x07\x08\x09"))  # the same writer makes good files too
    image = read_image(path, 1, 1, 3)
    assert image is not None
    assert image.tolist() == [[[7, 8, 9]]]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_files_are_none(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / "image"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path, name)
    whole = path.read_bytes()
    assert read_image(path, 3, 64, 64) is not None
    path.write_bytes(whole[: int(share * len(whole))])
    assert read_image(path, 3, 64, 64) is None


def rows_of_white(count: int) -> bytes:
    """A white image of 20x20 of which only the first rows are there, with everything else in order."""
    return png(20, 20, (b"\0" + bytes([255]) * 20) * count)


def test_a_png_whose_data_ends_early_is_none_however_well_formed(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    for rows in (0, 1, 19):
        path.write_bytes(rows_of_white(rows))
        assert read_image(path, 1, 20, 20) is None, rows
    path.write_bytes(rows_of_white(20))
    assert read_image(path, 1, 20, 20) is not None
    path.write_bytes(png(20, 20, (b"\0" + bytes(20)) * 20))  # black, but whole
    assert read_image(path, 1, 20, 20) is not None
    path.write_bytes(png(20, 20, (b"\0" + bytes(20)) * 20)[:-12])  # without its last chunk, which holds nothing
    assert read_image(path, 1, 20, 20) is not None


def test_the_seven_passes_of_an_interlaced_png_are_counted(tmp_path: Path) -> None:
    # The columns and rows of each pass over 20x20 pixels; every row begins with a byte for its filter.
    sizes = [(3, 3), (2, 3), (5, 2), (5, 5), (10, 5), (10, 10), (20, 10)]
    lines = b"".join((b"\0" + bytes([255]) * columns) * rows for columns, rows in sizes)
    path = tmp_path / "x.png"
    for data, whole in ((lines, True), (lines[:-1], False), (lines[: len(lines) // 2], False)):
        good = bytearray(png(20, 20, data))
        good[28] = 1
        good[29:33] = struct.pack(">I", zlib.crc32(bytes(good[12:29])))
        path.write_bytes(good)
        image = read_image(path, 1, 20, 20)
        assert (image is not None) == whole
        if image is not None:
            assert image.min() == 255


def test_deep_colours_lose_their_lower_byte(tmp_path: Path) -> None:
    """Pillow reads 16 bits a colour so; a value is never more than one step off."""
    path = tmp_path / "x.png"
    grey = png(1, 1, b"\0" + struct.pack(">HHH", 0x1280, 0xFFFF, 0x00FF))
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    path.write_bytes(grey[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + grey[33:])
    assert pixel(path) == [0x12, 0xFF, 0x00]


def test_inks_and_the_first_of_several_frames(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    image = read_image(tmp_path / "x.jpg", 3, 8, 8)
    assert image is not None and np.abs(image[:, 4, 4].astype(int) - RED).max() <= 3
    frames = [Image.new("RGB", (8, 8), colour) for colour in (BLUE, GREEN)]
    for name, options in (("x.png", {}), ("x.webp", {"lossless": True}), ("x.tif", {})):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        image = read_image(tmp_path / name, 3, 8, 8)
        assert image is not None
        assert image[:, 4, 4].tolist() == list(BLUE), name


def test_a_text_that_starts_with_bm_is_no_bitmap(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(b"BMW and others")
    assert not looks_like_image(path)
    assert not looks_like_image(tmp_path / "gone")


def test_resizing_keeps_the_centre_and_the_proportions() -> None:
    wide = np.zeros((4, 12), dtype=np.uint8)
    wide[:, 4:8] = 255
    assert np.asarray(resize_to(Image.fromarray(wide), 4, 4)).min() == 255
    # Halving averages with the triangle of Pillow's antialiased bilinear filter: weights 1, 3, 3, 1.
    ramp = np.tile(np.arange(0, 80, 10, dtype=np.uint8), (8, 1))
    assert np.asarray(resize_to(Image.fromarray(ramp), 4, 4))[1].tolist()[1:3] == [25, 45]
    tall = Image.fromarray(wide.T)
    two_steps = tall.resize((2, 6), Image.Resampling.BILINEAR).crop((0, 2, 2, 4))
    np.testing.assert_array_equal(np.asarray(resize_to(tall, 2, 2)), np.asarray(two_steps))
    assert resize_to(tall, 12, 4) is tall
