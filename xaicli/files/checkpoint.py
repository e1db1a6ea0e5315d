"""The checkpoint file: a model's tensors and its metadata in one `.safetensors` that vouches for every byte it uses.

The library alone accepts a file with a flipped bit; the sha256 of the tensors and of the metadata inside do not.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from xaicli.errors import InputError, MissingError, RefusedError, UnavailableError
from xaicli.files.atomic import publish
from xaicli.files.canonical import canonical_json
from xaicli.files.checkpoint_meta import CheckpointMeta as CheckpointMeta
from xaicli.files.checkpoint_meta import decode_meta, encode_meta
from xaicli.files.signature import signature

if TYPE_CHECKING:  # numpy costs more start-up time than everything `store info` does
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

METADATA_KEY = "xaicli"
_LARGEST_HEADER = 1 << 24  # bytes: 1 MiB of metadata, escaped, and some 100,000 tensors
_KINDS = "biuf"  # numpy dtype kinds: bool, int, unsigned, float


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint in memory, verified. `id` is the sha256 of the file; `tensors` are writable and the caller's own."""

    path: Path
    id: str
    meta: CheckpointMeta
    tensors: Tensors


def write_checkpoint(path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], meta: CheckpointMeta) -> str:
    """Publish a checkpoint and return its id; equal tensors and metadata give equal bytes.

    tensors: bool, integer or float arrays by name, in any order. `meta.tensors` is filled in. Raises InputError for
    weights that are not finite (the training diverged) and OutputError when the disk refuses.
    """
    from safetensors.numpy import save

    arrays = {name: _plain(name, tensor) for name, tensor in tensors.items()}
    _check_finite(arrays, "the new checkpoint", "nothing was written; lower the learning rate or check the data")
    text = encode_meta(replace(meta, tensors=tensors_digest(arrays)))
    content: bytes = save(arrays, metadata={METADATA_KEY: text})
    with publish(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def read_meta(path: str | os.PathLike[str]) -> tuple[CheckpointMeta, str]:
    """Metadata and id of a checkpoint without reading its tensors as arrays; they are verified by `read_checkpoint`."""
    path = Path(path)
    with _open(path) as file:
        meta = _read_header(file, file.seek(0, io.SEEK_END), path)
        file.seek(0)
        return meta, hashlib.file_digest(file, "sha256").hexdigest()


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and verify a checkpoint; the file is read once, so what was verified is what is used.

    Raises MissingError when it cannot be read, and InputError when it is truncated, damaged, of another schema, no
    checkpoint, or holds weights that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    with _open(path) as file:
        meta = _read_header(file, file.seek(0, io.SEEK_END), path)  # before its size is believed
        file.seek(0)
        try:
            content = file.read()
        except MemoryError:
            raise UnavailableError(f"'{path}' does not fit into memory; use a machine with more.") from None
    if _read_header(io.BytesIO(content), len(content), path) != meta:
        raise InputError(f"'{path}' changed while it was read; wait until it is complete and run the command again.")
    try:
        tensors: Tensors = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:  # KeyError: a dtype that numpy lacks
        raise _damaged(path, str(error)) from None
    if tensors_digest(tensors) != meta.tensors:
        raise _damaged(path, "its tensors do not match their digest")
    _check_finite(tensors, f"'{path}'", "train the model again")
    return Checkpoint(path, hashlib.sha256(content).hexdigest(), meta, tensors)


def tensors_digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """sha256 over every tensor's name, dtype, shape and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(canonical_json([name, tensor.dtype.str, list(tensor.shape)]).encode(errors="replace"))
        digest.update(tensor.reshape(-1).data)
    return digest.hexdigest()


def _plain(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """The same values contiguous and little-endian, as they lie in the file."""
    import numpy as np

    if tensor.dtype.kind not in _KINDS:
        raise TypeError(
            f"the tensor '{name}' has the type {tensor.dtype}; a checkpoint holds booleans, integers and floats"
        )
    return np.asarray(tensor, dtype=tensor.dtype.newbyteorder("<"), order="C")


def _check_finite(tensors: Mapping[str, NDArray[Any]], what: str, advice: str) -> None:
    import numpy as np

    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise InputError(f"the tensor '{name}' of {what} holds NaN or infinite values; {advice}.")


def _open(path: Path) -> io.BufferedReader:
    try:
        if path.exists() and not path.is_file():  # opening a pipe or a device could block for ever
            raise InputError(f"'{path}' is not a file; name the checkpoint itself.")
        return path.open("rb")
    except OSError as error:
        raise MissingError(f"'{path}' cannot be read: {error.strerror or error}; check the path.") from None


def _read_header(file: BinaryIO, size: int, path: Path) -> CheckpointMeta:
    """Validate the metadata, and that the file has the length that its header promises."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        if signature(path) == "pickle":
            raise RefusedError(f"'{path}' is a pickle, which could run code when read; use `xaicli import` on it.")
        raise _damaged(path, "it is truncated or no safetensors file")
    if length > _LARGEST_HEADER:
        raise _damaged(path, f"its header has {length} bytes, more than any checkpoint needs")
    header = _parse_header(file.read(length), path)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get(METADATA_KEY), str):
        raise InputError(
            f"'{path}' holds plain weights without the metadata of a checkpoint; "
            "make a checkpoint of them with `xaicli import`."
        )
    if len(metadata) != 1:
        raise _damaged(path, f"it has {len(metadata)} metadata keys where a checkpoint has one")
    try:
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):  # OverflowError: 1e999 is infinite
        raise _damaged(path, "its list of tensors is malformed") from None
    if size != 8 + length + end:
        raise _damaged(path, f"it has {size} bytes, but its header promises {8 + length + end}")
    return decode_meta(metadata[METADATA_KEY], f"'{path}'")


def _parse_header(text: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise _damaged(path, "its header cannot be read") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    return header


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key given twice: two readers could each believe another one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"'{path}' is damaged or no checkpoint: {reason}; restore the file or make it again.")
