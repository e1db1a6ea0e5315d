"""The one way in which images are brought to a size that somebody asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image


POLICY = "centre 1"
"""What `resize_to` does, with its version: a part of the digest of data sets whose files have any size."""


def resize_to(image: Image, height: int, width: int) -> Image:
    """The largest centred part of the image with the wanted proportions, at the wanted size (bilinear, antialiased).

    This is the usual "resize the shorter side, then crop the centre" in one interpolation instead of two steps, so the
    crop is not rounded to whole pixels.
    """
    from PIL.Image import Resampling

    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    across, down = scale * width, scale * height
    left, top = (image.width - across) / 2, (image.height - down) / 2
    # The box may not leave the image, not even by a rounding error.
    box = (max(0.0, left), max(0.0, top), min(image.width, left + across), min(image.height, top + down))
    return image.resize((width, height), Resampling.BILINEAR, box=box)


def resize_all(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """uint8 images [n, C, H, W] at another size."""
    if images.shape[2:] == (height, width):
        return images
    from PIL.Image import fromarray

    result = np.empty((*images.shape[:2], height, width), dtype=np.uint8)
    for image, resized in zip(images, result, strict=True):
        for plane, target in zip(image, resized, strict=True):
            target[:] = np.asarray(resize_to(fromarray(plane), height, width))
    return result
