"""Pickles as Python 2 wrote them, protocol 2: the form of CIFAR's files, which Python 3 cannot write any more."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def dumps(value: object) -> bytes:
    """`cPickle.dumps(value, 2)` of dicts, lists, ints, byte strings (also for text) and arrays of bytes."""
    return b"\x80\x02" + _put(value) + b"."


def _put(value: object) -> bytes:
    if isinstance(value, Mapping):
        return b"}(" + b"".join(_put(key) + _put(item) for key, item in value.items()) + b"u"
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, bytes):
        short = len(value) < 256
        return (b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    assert isinstance(value, Sequence)
    return b"](" + b"".join(map(_put, value)) + b"e"


def _array(array: NDArray[np.uint8]) -> bytes:
    """numpy's own calls: _reconstruct(ndarray, (0,), 'b'), then the state (1, shape, dtype('u1'), False, bytes)."""
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"".join(map(_put, array.shape)) + {1: b"\x85", 2: b"\x86"}[array.ndim]
    return made + b"(K\x01" + shape + kind + b"\x89" + _put(array.tobytes()) + b"tb"
