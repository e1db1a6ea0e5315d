"""First look at a foreign HDF5 file: refuse what reaches outside of it, and sizes that nothing in it backs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from xaicli.errors import InputError, RefusedError
from xaicli.files.cycles import check_object
from xaicli.files.texts import check_texts

CHUNK_LIMIT = 16 << 20
_OBJECT_LIMIT = 100_000  # in one file; the largest store has a few hundred
_DEPTH_LIMIT = 16
_ATTRIBUTE_LIMIT = 64 << 20  # bytes of one attribute: a lineage is kilobytes
_FILTERS = frozenset((h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE))
_TYPES = frozenset((h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.STRING))


def inspect(file: Any, path: Path, max_memory: int | None = None) -> dict[str, Any]:
    """Every group and dataset of an open HDF5 file by its path in the file, root ("") included, in sorted order.

    Raises RefusedError for links and for storage outside the file, InputError for data types, filters, chunks (over
    16 MiB or `max_memory` bytes) and sizes that no store has, or that the file's own bytes do not back. Reads no data,
    and opens no object before its link is known to be an ordinary one.
    """
    limit = min(CHUNK_LIMIT, max_memory or CHUNK_LIMIT)
    size = path.stat().st_size
    objects: dict[str, Any] = {}
    seen: set[int] = set()
    for name, item in _walk(file, path, "", 0):
        where = f"/{name} of '{path}'"
        address = h5py.h5o.get_info(item.id).addr
        if address in seen or len(objects) >= _OBJECT_LIMIT:
            raise InputError(f"{where} is linked twice, or one of too many objects; do not use the file.")
        seen.add(address)
        _check_attributes(item, where)
        if isinstance(item, h5py.Dataset):
            _check_outside(item, where)
            _check_type(item, where)
            _check_storage(item, where, limit, size)
        objects[name] = item
    check_texts(path, seen)
    return dict(sorted(objects.items()))


def _walk(group: Any, path: Path, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    yield prefix, group
    if depth > _DEPTH_LIMIT:
        raise InputError(f"/{prefix} of '{path}' lies {depth} groups deep; do not use the file.")
    for key in group:
        name = f"{prefix}/{key}" if prefix else key
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise RefusedError(f"/{name} of '{path}' is a link that may lead outside the file; do not trust the file.")
        check_object(path, group.id.links.get_info(key.encode(errors="surrogateescape")).u)
        item = group[key]
        if isinstance(item, h5py.Group):
            yield from _walk(item, path, name, depth + 1)
        elif isinstance(item, h5py.Dataset):
            yield name, item
        else:
            raise InputError(f"/{name} of '{path}' is neither a group nor a dataset; do not use the file.")


def _check_attributes(item: Any, where: str) -> None:
    for key in item.attrs:
        attribute = item.attrs.get_id(key)
        if attribute.get_type().get_class() not in _TYPES or attribute.get_storage_size() > _ATTRIBUTE_LIMIT:
            raise InputError(f"the attribute {key!r} of {where} is like none that a store has; do not use the file.")


def _check_outside(dataset: Any, where: str) -> None:
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise RefusedError(f"{where} takes its data from other files (virtual dataset); do not trust the file.")
    if properties.get_external_count() > 0:
        raise RefusedError(f"{where} keeps its data in another file (external storage); do not trust the file.")


def _check_type(dataset: Any, where: str) -> None:
    kind = dataset.id.get_type()
    if kind.get_class() not in _TYPES or (isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()):
        raise InputError(f"{where} holds {dataset.dtype}, a type that no store has; do not use the file.")


def _check_storage(dataset: Any, where: str, limit: int, file_size: int) -> None:
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
    if not _FILTERS.issuperset(filters):
        raise InputError(f"{where} uses a filter other than gzip and shuffle; do not use the file.")
    if not _is_backed(dataset, properties, bool(filters), file_size):
        raise InputError(f"{where} declares more than the file holds; it is damaged, so make the file again.")
    if properties.get_layout() == h5py.h5d.CHUNKED and _chunk_bytes(dataset) > limit:
        raise InputError(f"{where} has chunks of more than {limit:,} bytes; allow more memory or do not use the file.")


def _is_backed(dataset: Any, properties: Any, filtered: bool, file_size: int) -> bool:
    """Whether every number that the dataset declares has its place in the file."""
    if dataset.shape is None:
        return False
    if properties.get_layout() == h5py.h5d.CHUNKED:
        chunks = math.prod(-(-side // step) for side, step in zip(dataset.shape, dataset.chunks, strict=True))
        needed = 0 if filtered else chunks * _chunk_bytes(dataset)
        if max(chunks, needed) > file_size:  # before the chunks are counted, which walks their index
            return False
        stored: int = dataset.id.get_storage_size()
        return bool(dataset.id.get_num_chunks() == chunks) and needed <= stored <= file_size
    start = dataset.id.get_offset() or 0  # None for the few bytes that stand in the object's header
    return bool(dataset.nbytes <= dataset.id.get_storage_size() and start + dataset.nbytes <= file_size)


def _chunk_bytes(dataset: Any) -> int:
    chunk: tuple[int, ...] = dataset.chunks
    return math.prod(chunk) * int(dataset.id.get_type().get_size())
