"""How a map becomes colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

CLIP = 99.5  # percentile of the absolute map that gets full colour

Map = npt.NDArray[np.floating[Any]]


def draw_map(attribution: Map, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """A map [C, H, W] as colours [H, W, 3] in [0, 1].

    Signed maps are red where they speak for the class and blue against it, on white; maps without negative values glow
    over the grey image, from their smallest value on.
    """
    from matplotlib import colormaps

    pixels = attribution.sum(0)
    low = float(pixels.min())
    if low < 0:
        scale = float(np.percentile(np.abs(pixels), CLIP)) or 1.0
        return np.asarray(colormaps["RdBu_r"](0.5 + 0.5 * np.clip(pixels / scale, -1, 1)))[..., :3]
    scale = float(np.percentile(pixels - low, CLIP)) or 1.0
    strength = np.clip((pixels - low) / scale, 0, 1)[..., None]
    grey = np.repeat(image.mean(2, keepdims=True) / 255, 3, axis=2) * 0.75
    glow = np.asarray(colormaps["inferno"](0.25 + 0.75 * strength[..., 0]))[..., :3]
    mixed: npt.NDArray[np.float64] = grey * (1 - 0.8 * strength) + glow * 0.8 * strength
    return mixed
