"""A data set of plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from xaicli.data.dataset import Dataset, Images


@dataclass(frozen=True, eq=False, kw_only=True)
class Plain(Dataset):
    pixels: np.ndarray
    readable: np.ndarray

    def read(self, positions) -> Images:
        return Images(self.pixels[positions], self.readable[positions])


@pytest.fixture
def plain_data() -> Callable[..., Plain]:
    def make(count: int, side: int = 3) -> Plain:
        pixels = np.random.default_rng(0).random((count, 1, side, side)).astype(np.float32)
        return Plain(
            name="plain",
            split="test",
            classes=("a", "b"),
            channels=1,
            height=side,
            width=side,
            labels=np.arange(count) % 2,
            index=np.arange(count),
            digest="0" * 64,
            pixels=pixels,
            readable=np.ones(count, dtype=bool),
        )

    return make
