"""Lists and trees that lead back to themselves: HDF5 walks over them for ever, or until its stack is full.

It does so when an object is opened or asked about, and for the root group already when the file is opened. So what it
would walk over is read here first (HDF5 File Format Specification, sections II.A, III.A, III.D and IV.A).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from xaicli.errors import InputError
from xaicli.files.texts import UnknownFormatError, messages, unpack

_SUPERBLOCK = struct.Struct("<8xB55xQI4xQQ")  # version; the root's header, kind of what follows, B-tree and heap
_SYMBOL_TABLE = struct.Struct("<QQ")  # B-tree, heap
_HEAP = struct.Struct("<4sB3xQQQ")  # signature, version, bytes of data, first free place, address of the data
_FREE = struct.Struct("<QQ")  # next free place, bytes
_CHUNKED = struct.Struct("<BBBQ")  # version, class, dimensions and one, B-tree
_NODE = struct.Struct("<4sBBHQQ")  # signature, type, level, children, left and right sibling
_ADDRESS = struct.Struct("<Q")
_SYMBOL_TABLE_TYPE, _LAYOUT_TYPE = 0x11, 0x08
_CACHED = 1
_LAST = 1
_NOWHERE = (1 << 64) - 1
_GROUP_TREE, _CHUNK_TREE = 0, 1
_FREE_LIMIT = 100_000  # places in one heap
_LEVELS = 16


def check_root(path: Path) -> None:
    """Raise InputError if the root group of an HDF5 file leads its reader in circles, or is of a later format."""
    with _reading(path) as file:
        version, address, kind, tree, heap = unpack(file, _SUPERBLOCK, 0)
        if version != 0:
            raise UnknownFormatError
        if kind == _CACHED:
            _check_names(file, tree, heap)
    check_object(path, address)


def check_object(path: Path, address: int) -> None:
    """Raise InputError if the group or dataset whose header is at this address leads its reader in circles."""
    with _reading(path) as file:
        for kind, data in messages(file, address):
            if kind == _SYMBOL_TABLE_TYPE:
                _check_names(file, *_SYMBOL_TABLE.unpack_from(data))
            elif kind == _LAYOUT_TYPE and data[1] == 2:
                version, _, dimensions, tree = _CHUNKED.unpack_from(data)
                if version != 3:
                    raise UnknownFormatError
                if tree != _NOWHERE:
                    _check_tree(file, tree, _CHUNK_TREE, key=8 + 8 * dimensions)


def _check_names(file: BinaryIO, tree: int, heap: int) -> None:
    """The names of a group: a tree of their order, and a heap with a list of what is free in it."""
    _check_tree(file, tree, _GROUP_TREE, key=8)
    sign, version, size, place, start = unpack(file, _HEAP, heap)
    if (sign, version) != (b"HEAP", 0):
        raise UnknownFormatError
    met: set[int] = set()
    while place != _LAST:
        if place in met or len(met) > _FREE_LIMIT or place + _FREE.size > size:
            raise UnknownFormatError
        met.add(place)
        place, _ = unpack(file, _FREE, start + place)


def _check_tree(file: BinaryIO, root: int, kind: int, *, key: int) -> None:
    """A B-tree level by level: each node has the level of its row, and the siblings that stand beside it there."""
    level, row, met = unpack(file, _NODE, root)[2], [root], {root}
    if level > _LEVELS:
        raise UnknownFormatError
    while True:
        below: list[int] = []
        for left, address, right in zip([_NOWHERE, *row[:-1]], row, [*row[1:], _NOWHERE], strict=True):
            sign, *found, children, before, after = unpack(file, _NODE, address)
            if (sign, *found, before, after) != (b"TREE", kind, level, left, right):
                raise UnknownFormatError
            data = file.read(children * (key + _ADDRESS.size))
            below += [_ADDRESS.unpack_from(data, key + n * (key + _ADDRESS.size))[0] for n in range(children)]
        if level == 0:
            return
        if not met.isdisjoint(below) or len(set(below)) < len(below):
            raise UnknownFormatError
        met.update(below)
        level, row = level - 1, below


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except (UnknownFormatError, struct.error, IndexError, ValueError, OSError):  # the latter two: an absurd address
        raise InputError(
            f"'{path}' is damaged, or of an HDF5 format that xaicli does not write; name a store that it wrote."
        ) from None
