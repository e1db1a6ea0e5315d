"""One training batch: augmented images, labels, and random numbers that belong to its samples and epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xaicli.attack.plan import Draw
from xaicli.run.random import Stream, generator

CROP_SHARE = 1 / 8  # crop(4) of a 32-pixel side

Loss = Tensor | Mapping[str, Tensor]
"""What a recipe returns of a batch: its loss, or the terms that add up to it, which the history tells one by one."""


@dataclass(frozen=True)
class Batch:
    """What a recipe sees of one step."""

    classifier: nn.Module  # from pixels to float32 logits
    images: Tensor  # [n, C, H, W] in [0, 1], augmented
    labels: Tensor  # int64 [n]
    stream: Stream
    done: float = 0.0  # share of the whole training
    rollbacks: int = 0  # how often the watchdog has put back an earlier state
    rows: int = 0  # images of the whole training data
    kept: Tensor | None = None  # [n, C, H, W], what the step before has left there; zeros at first

    @property
    def draw(self) -> Draw:
        """Random numbers shaped like the images; the two kinds are independent of each other."""
        shape = self.images.shape[1:]
        return Draw(
            lambda: torch.as_tensor(self.stream.normal(shape)).to(self.images),
            lambda: torch.as_tensor(self.stream.uniform(shape)).to(self.images),
            lambda: torch.as_tensor(self.stream.uniform(())).to(self.images),
        )

    def mixed(self, alpha: float) -> tuple[Tensor, Tensor, Tensor, float]:
        """Images mixed with their reversed batch, both labels, and the share of the first (1 without mixup)."""
        if not alpha:
            return self.images, self.labels, self.labels, 1.0
        share = float(generator(self.stream.seed, f"{self.stream.name}/mixup", self.stream.index[0]).beta(alpha, alpha))
        return share * self.images + (1 - share) * self.images.flip(0), self.labels, self.labels.flip(0), share


def augment(images: Tensor, kind: str, stream: Stream) -> Tensor:
    """Random shifts by up to an eighth of the side (edges repeated), and for `crop-flip` mirror images.

    images: [n, C, H, W]. `auto` is `crop-flip` for three channels and `crop` for others (a mirrored digit is another
    sign).
    """
    if kind == "auto":
        kind = "crop-flip" if images.shape[1] == 3 else "crop"
    if kind == "none":
        return images
    height, width = images.shape[2:]
    reach = np.maximum(np.round(np.array([height, width]) * CROP_SHARE), 1)
    draws = stream.fork("augment").uniform((3,))
    shift = np.floor(draws[:, :2] * (2 * reach + 1)) - reach
    rows = np.clip(np.arange(height) + shift[:, :1], 0, height - 1).astype(np.int64)
    columns = np.clip(np.arange(width) + shift[:, 1:2], 0, width - 1).astype(np.int64)
    if kind == "crop-flip":
        mirrored = draws[:, 2] < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    places = torch.as_tensor(rows[:, :, None] * width + columns[:, None, :]).to(images.device)
    flat = images.flatten(2)
    return flat.gather(2, places.flatten(1).unsqueeze(1).expand_as(flat)).view_as(images)
