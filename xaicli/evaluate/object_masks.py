"""Where the object masks of a run come from: a file of the user's, or the data set itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import Dataset
from xaicli.evaluate.mask_files import open_masks
from xaicli.run.inputs import Rows, match_rows

Masks = npt.NDArray[Any]


@dataclass(frozen=True)
class ObjectMasks:
    """Masks of the rows that are judged, [n, H, W]; the digest tells those of a job from others."""

    digest: str
    read: Callable[[Rows], Masks]


def find_masks(path: Path | None, original: Dataset | None, dataset: Dataset) -> ObjectMasks | None:
    """The masks in the file, else those that the data set draws, if it does.

    original: the data set whose rows were explained, where it is at hand. dataset: the images that were.
    """
    if path is not None:
        file = open_masks(path, dataset.height, dataset.width)
        return ObjectMasks(file.digest, lambda rows: file.read(rows.index.astype(np.int64)))
    if original is None or original.masks([0]) is None:
        return None
    drawn = original

    def read(rows: Rows) -> Masks:
        masks = drawn.masks(match_rows(drawn, rows.index, "the images").positions)
        assert masks is not None  # it has those of its first row
        return masks

    return ObjectMasks(drawn.digest, read)
