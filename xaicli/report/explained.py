"""The images behind a store that holds none: those that were explained, and those of the training data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import Dataset
from xaicli.evaluate.sources import open_rows
from xaicli.files.artifact import of_store
from xaicli.files.parents import Parents
from xaicli.files.store import Store
from xaicli.run.cases import reopen_data
from xaicli.run.inputs import match_rows
from xaicli.run.settings import Settings

Pictures = Callable[[Any], npt.NDArray[Any]]  # rows of a store -> [n, C, H, W], uint8 or in [0, 1]


def explained_images(store: Store, parents: Parents, settings: Settings) -> Pictures:
    """The images of a store's rows: its own, or those of its parent or data set."""
    if "data" in store.columns:
        return lambda rows: store.read(rows, ["data"])["data"]
    dataset, _ = open_rows(of_store(store), parents, settings)
    inputs = match_rows(dataset, store.column("index").astype(np.int64), store.path.name)
    return lambda rows: dataset.read(inputs.positions[rows]).pixels


def training_images(store: Store, shape: tuple[int, int, int], parents: Parents, settings: Settings) -> Dataset:
    """The data that the points of a representer store are rows of, at this size (C, H, W)."""
    return reopen_data(dict(store.attributes["training"]), shape, parents, settings)
