"""An images store read as a data set, each row checked against its digest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.data.dataset import Dataset, Images, Positions
from xaicli.errors import InputError
from xaicli.files.columns import Status
from xaicli.files.store import Store, open_store


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredImages(Dataset):
    """The images that `attack` or `generate` wrote; rows whose status is not ok are unreadable."""

    store: Store
    keys: npt.NDArray[Any]

    @property
    def permuted_as(self) -> str:
        """The same for all stores of images made from the same data."""
        return f"images of {(self.store.job['parents'].get('data') or {}).get('name')}"

    def key(self, position: int) -> str:
        """The sample's name in the data set that the images were made from."""
        key = self.keys[position]
        return key.decode() if isinstance(key, bytes) else str(key)

    def read(self, positions: Positions) -> Images:
        """Pixels and readability of the rows at these positions."""
        rows = self.store.read(np.asarray(positions, dtype=np.int64), ["data", "status"])
        return Images(rows["data"], rows["status"] == Status.OK)


def open_stored_images(path: Path) -> StoredImages:
    """Open an images store as a data set; InputError when it is another kind of store."""
    store = open_store(path)
    if store.kind != "images":
        raise InputError(f"'{path}' is a store of {store.kind}; name an images store.")
    _, channels, height, width = store.shape("data")
    return StoredImages(
        name=store.id,
        split="",
        classes=tuple(store.attributes["classes"]),
        channels=channels,
        height=height,
        width=width,
        labels=store.column("label").astype(np.int64),
        index=store.column("index").astype(np.int64),
        digest=store.id,
        path=path,
        store=store,
        keys=store.column("key"),
    )
