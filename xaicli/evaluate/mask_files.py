"""Object masks from a file of the user's: `--masks FILE`, one mask for each row of a data set."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.errors import InputError, MissingError, RefusedError

NAME = "masks"
"""The array's name in an .npz or .h5 file that holds several."""
_ROWS = 256  # masks that are looked at together


@dataclass(frozen=True, eq=False)
class MaskFile:
    """Masks [N, H, W] of a data set's rows; pixels other than zero are the object's."""

    path: Path
    digest: str
    array: Any

    def read(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """The masks of the rows with these numbers in their data set, [n, H, W]."""
        if len(index) and int(index.max()) >= len(self.array):
            raise InputError(
                f"'{self.path.name}' holds masks for {len(self.array)} rows, but row {int(index.max())} is judged; "
                "give one mask for each row of the data set."
            )
        unique, where = np.unique(index, return_inverse=True)  # HDF5 reads ascending rows only
        return np.asarray(self.array[unique] != 0)[where]


def open_masks(path: Path, height: int, width: int) -> MaskFile:
    """Masks [N, H, W] in an .npy, .npz or .h5 file, row i for the data set's row i; whole numbers or booleans.

    In an .npz or .h5 file the array is called `masks`, or is the only one. Its digest is that of the masks, whatever
    file they come in. Raises MissingError for a file that is not there, InputError for one that holds no such array,
    RefusedError for what is not safe to read.
    """
    readers: dict[str, Callable[[Path], Any]] = {".npy": _npy, ".npz": _npz, ".h5": _hdf5, ".hdf5": _hdf5}
    if path.suffix not in readers:
        raise InputError(
            f"--masks '{path}' is no .npy, .npz or .h5 file; save the masks [N, {height}, {width}] as one."
        )
    try:
        array = readers[path.suffix](path)
        shape, kind = tuple(array.shape), array.dtype.kind
        if kind not in "bui" or len(shape) != 3 or shape[1:] != (height, width):
            raise InputError(
                f"--masks '{path}' holds {array.dtype} of shape {list(shape)}, not whole numbers or booleans "
                f"[N, {height}, {width}]; give masks of the images' size."
            )
        return MaskFile(path, _digest(array), array)
    except FileNotFoundError:
        raise MissingError(f"there is no file '{path}' for --masks; name one that exists.") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"--masks '{path}' cannot be read: {error}; save the masks again.") from None


def _npy(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as file:
        name = _name(path, list(file.files))
        entry = archive.getinfo(f"{name}.npy")
        if entry.file_size > 1000 * max(entry.compress_size, 1):  # masks of large shapes pack 1:100, bombs 1:1000
            raise RefusedError(f"--masks '{path}' unpacks to a thousand times its size; do not trust the file.")
        return file[name]


def _hdf5(path: Path) -> Any:
    import h5py

    from xaicli.files.hostile import inspect

    file = h5py.File(path, "r")
    found = {name: item for name, item in inspect(file, path).items() if isinstance(item, h5py.Dataset)}
    return found[_name(path, list(found))]


def _name(path: Path, names: list[str]) -> str:
    if NAME not in names and len(names) != 1:
        raise InputError(f"--masks '{path}' holds {len(names)} arrays and none called '{NAME}'; call one so.")
    return NAME if NAME in names else names[0]


def _digest(array: Any) -> str:
    """sha256 of shape and masks, a bit a pixel."""
    digest = hashlib.sha256(f"masks{list(array.shape)}".encode())
    for start in range(0, len(array), _ROWS):
        digest.update(np.packbits(np.asarray(array[start : start + _ROWS]) != 0).tobytes())
    return digest.hexdigest()
