"""How long the texts in attributes claim to be, and whether the heaps that hold them add up, before HDF5 believes it.

A text's length stands beside its address in the object's header, as four bytes that HDF5 believes: one changed bit
in a file of 40 kB costs 4 GB of memory. The texts lie in heaps, one after the other, and HDF5 2.0 walks for ever over
one whose sizes do not add up. h5py has no call that tells either, so headers and heaps are read here, in the first of
HDF5's formats, which is the one that xaicli writes (HDF5 File Format Specification, sections II.A, III.E and IV.A).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from xaicli.errors import InputError

TEXT_LIMIT = 64 << 20  # bytes of all texts of one object: a lineage is kilobytes
_BLOCK_LIMIT = 1000  # of one header
_HEADER_LIMIT = 1 << 20  # bytes of one block of a header
_HEAP_LIMIT = 1 << 27  # bytes of one heap: a text at its limit, and what is free
_SUPERBLOCK = struct.Struct("<8xB15xQ")  # version, base address
_PREFIX = struct.Struct("<BxHII4x")  # version, messages, references, bytes of the first block
_MESSAGE = struct.Struct("<HHB3x")  # type, bytes, flags
_CONTINUATION = struct.Struct("<QQ")  # address, bytes of a further block
_ATTRIBUTE = struct.Struct("<BBHHH")  # version, flags, bytes of name, type and space
_TEXT = struct.Struct("<IQI")  # length, address, index
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, bytes with this header
_HEAP_OBJECT = struct.Struct("<HHIQ")  # index (0: what is free), references, reserved, bytes
_CONTINUATION_TYPE, _ATTRIBUTE_TYPE = 0x10, 0x0C
_SHARED = 0x02
_VARIABLE_LENGTH = 9


class UnknownFormatError(Exception):
    """The file is not in HDF5's first format."""


def check_texts(path: Path, addresses: Iterable[int]) -> None:
    """Raise InputError if an object's attributes claim texts of more than 64 MiB, or those of a heap do not add up.

    addresses: where the headers of the objects lie in the file.
    """
    with path.open("rb") as file:
        try:
            if unpack(file, _SUPERBLOCK, 0) != (0, 0):
                raise UnknownFormatError
            found = [
                [text for kind, data in messages(file, address) if kind == _ATTRIBUTE_TYPE for text in _texts(data)]
                for address in addresses
            ]
            totals = [sum(length for length, _, _ in texts) for texts in found]
            if max(totals, default=0) <= TEXT_LIMIT:
                for heap in {address for texts in found for length, address, _ in texts if length}:
                    _check_heap(file, heap)
        except (UnknownFormatError, struct.error, IndexError, ValueError):
            raise InputError(
                f"'{path}' is damaged, or of an HDF5 format that xaicli does not write; name a store that it wrote."
            ) from None
    if max(totals, default=0) > TEXT_LIMIT:
        raise InputError(f"'{path}' claims texts of {max(totals):,} bytes in attributes; do not use the file.")


def messages(file: BinaryIO, address: int) -> Iterator[tuple[int, bytes]]:
    """The messages in the object header at an address: type and data.

    Raises UnknownFormatError or struct.error for what is no header of HDF5's first format.
    """
    version, _, _, size = unpack(file, _PREFIX, address)
    if version != 1:
        raise UnknownFormatError
    blocks = [(address + _PREFIX.size, size)]
    for number, (start, length) in enumerate(blocks):  # grows as continuations are met
        if number > _BLOCK_LIMIT or length > _HEADER_LIMIT:
            raise UnknownFormatError
        file.seek(start)
        block = file.read(length)
        place = 0
        while place + _MESSAGE.size <= len(block):
            kind, size, flags = _MESSAGE.unpack_from(block, place)
            data = block[place + _MESSAGE.size : place + _MESSAGE.size + size]
            place += _MESSAGE.size + size
            if kind == _CONTINUATION_TYPE:
                blocks.append(_CONTINUATION.unpack_from(data))
            elif kind == _ATTRIBUTE_TYPE and flags & _SHARED:
                raise UnknownFormatError
            yield kind, data


def _texts(attribute: bytes) -> Iterator[tuple[int, int, int]]:
    """What an attribute says of its texts: length, address of the heap, and index in it."""
    version, flags, *sizes = _ATTRIBUTE.unpack_from(attribute)
    if version not in (1, 3) or (version == 3 and flags):
        raise UnknownFormatError
    if version == 1:
        name, kind, space = (-(-size // 8) * 8 for size in sizes)
        start = _ATTRIBUTE.size + name
    else:
        name, kind, space = sizes
        start = _ATTRIBUTE.size + 1 + name
    if attribute[start] & 0x0F != _VARIABLE_LENGTH:
        return
    data = attribute[start + kind + space :]
    yield from _TEXT.iter_unpack(data[: len(data) // _TEXT.size * _TEXT.size])


def _check_heap(file: BinaryIO, address: int) -> None:
    """Walk over the objects of a heap as HDF5 does: each has to end within it, and the last one at its end."""
    sign, version, size = unpack(file, _HEAP, address)
    if (sign, version) != (b"GCOL", 1) or size > _HEAP_LIMIT:
        raise UnknownFormatError
    place, end = address + _HEAP.size, address + size
    while place + _HEAP_OBJECT.size <= end:
        index, _, _, length = unpack(file, _HEAP_OBJECT, place)
        taken = length if index == 0 else _HEAP_OBJECT.size + -(-length // 8) * 8
        if not _HEAP_OBJECT.size <= taken <= end - place:
            raise UnknownFormatError
        place += taken


def unpack(file: BinaryIO, form: struct.Struct, address: int) -> tuple[Any, ...]:
    """The values at an address of the file. Raises struct.error where it has ended."""
    file.seek(address)
    return form.unpack(file.read(form.size))
