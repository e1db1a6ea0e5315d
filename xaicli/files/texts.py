"""How long the texts in attributes claim to be, looked up before HDF5 allocates that much: it does so unseen.

A text's length stands beside its address in the object's header, as four bytes that HDF5 believes: one changed bit
in a file of 40 kB costs 4 GB of memory. h5py has no call that tells it, so the headers are read here, in the
first of HDF5's formats, which is the one that xaicli writes (HDF5 File Format Specification, sections II.A and IV.A).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from xaicli.errors import InputError

TEXT_LIMIT = 64 << 20  # bytes of all texts of one object: a lineage is kilobytes
_BLOCK_LIMIT = 1000  # of one header
_HEADER_LIMIT = 1 << 20  # bytes of one block of a header
_SUPERBLOCK = struct.Struct("<8xB15xQ")  # version, base address
_PREFIX = struct.Struct("<BxHII4x")  # version, messages, references, bytes of the first block
_MESSAGE = struct.Struct("<HHB3x")  # type, bytes, flags
_CONTINUATION = struct.Struct("<QQ")  # address, bytes of a further block
_ATTRIBUTE = struct.Struct("<BBHHH")  # version, flags, bytes of name, type and space
_TEXT = struct.Struct("<IQI")  # length, address, index
_CONTINUATION_TYPE, _ATTRIBUTE_TYPE = 0x10, 0x0C
_SHARED = 0x02
_VARIABLE_LENGTH = 9


class _UnknownFormatError(Exception):
    """The file is not in HDF5's first format."""


def check_texts(path: Path, addresses: Iterable[int]) -> None:
    """Raise InputError if the attributes of an object claim texts of more than 64 MiB or are of a later format.

    addresses: where the headers of the objects lie in the file.
    """
    with path.open("rb") as file:
        try:
            if _unpack(file, _SUPERBLOCK, 0) != (0, 0):
                raise _UnknownFormatError
            totals = [sum(_claimed(data) for data in _attributes(file, address)) for address in addresses]
        except (_UnknownFormatError, struct.error, IndexError):
            raise InputError(
                f"'{path}' is damaged, or of an HDF5 format that xaicli does not write; name a store that it wrote."
            ) from None
    if max(totals, default=0) > TEXT_LIMIT:
        raise InputError(f"'{path}' claims texts of {max(totals):,} bytes in attributes; do not use the file.")


def _attributes(file: BinaryIO, address: int) -> Iterator[bytes]:
    """The attribute messages in the header at an address."""
    version, _, _, size = _unpack(file, _PREFIX, address)
    if version != 1:
        raise _UnknownFormatError
    blocks = [(address + _PREFIX.size, size)]
    for number, (start, length) in enumerate(blocks):  # grows as continuations are met
        if number > _BLOCK_LIMIT or length > _HEADER_LIMIT:
            raise _UnknownFormatError
        file.seek(start)
        block = file.read(length)
        place = 0
        while place + _MESSAGE.size <= len(block):
            kind, size, flags = _MESSAGE.unpack_from(block, place)
            data = block[place + _MESSAGE.size : place + _MESSAGE.size + size]
            place += _MESSAGE.size + size
            if kind == _CONTINUATION_TYPE:
                blocks.append(_CONTINUATION.unpack_from(data))
            elif kind == _ATTRIBUTE_TYPE:
                if flags & _SHARED:
                    raise _UnknownFormatError
                yield data


def _claimed(attribute: bytes) -> int:
    """The bytes that the texts of an attribute claim, 0 if it holds none."""
    version, flags, *sizes = _ATTRIBUTE.unpack_from(attribute)
    if version not in (1, 3) or (version == 3 and flags):
        raise _UnknownFormatError
    if version == 1:
        name, kind, space = (-(-size // 8) * 8 for size in sizes)
        start = _ATTRIBUTE.size + name
    else:
        name, kind, space = sizes
        start = _ATTRIBUTE.size + 1 + name
    if attribute[start] & 0x0F != _VARIABLE_LENGTH:
        return 0
    data = attribute[start + kind + space :]
    return sum(length for length, _, _ in _TEXT.iter_unpack(data[: len(data) // _TEXT.size * _TEXT.size]))


def _unpack(file: BinaryIO, form: struct.Struct, address: int) -> tuple[int, ...]:
    file.seek(address)
    return form.unpack(file.read(form.size))
