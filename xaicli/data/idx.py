"""IDX, the format of MNIST (Y. LeCun et al., 1998): a big-endian header of type and sizes, then bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from xaicli.errors import InputError, MissingError

BYTES = 0x08
"""The type code of unsigned bytes, the only one that these data sets use."""

MOST_BYTES = 1 << 27
"""More than MNIST's 47 MB, and few enough that a lying header does no harm."""


def read_idx(path: Path, *sizes: int | None) -> NDArray[np.uint8]:
    """The array of an IDX file, plain or gzipped (told by its content).

    sizes: of every dimension, None where any will do. Never more is inflated than the header declares. Raises
    MissingError for a file that cannot be read, InputError for one that is no IDX file of these sizes, that ends early
    or that goes on after its end.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if packed else file as data:
                return _array(data, path, sizes)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"'{path}' is damaged, or ends early; fetch the data set again.") from None
    except OSError as error:
        raise MissingError(f"'{path}' cannot be read ({error.strerror}); restore it.") from None


def _array(data: IO[bytes] | gzip.GzipFile, path: Path, sizes: tuple[int | None, ...]) -> NDArray[np.uint8]:
    wanted = 4 + 4 * len(sizes)
    header = data.read(wanted)
    if len(header) < wanted or header[:4] != bytes([0, 0, BYTES, len(sizes)]):
        raise InputError(
            f"'{path}' is no IDX file of bytes in {len(sizes)} dimension{'s'[: len(sizes) - 1]}; "
            "fetch the data set again."
        )
    shape = struct.unpack(f">{len(sizes)}I", header[4:])
    said = "x".join(map(str, shape))
    count = math.prod(shape)
    if count > MOST_BYTES or any(size not in (None, found) for size, found in zip(sizes, shape, strict=True)):
        raise InputError(f"'{path}' claims a size of {said}, which this data set does not have; fetch it again.")
    body = data.read(count + 1)
    if len(body) != count:
        fault = "ends early" if len(body) < count else "goes on after its end"
        raise InputError(f"'{path}' {fault}: its header says {said}; fetch the data set again.")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)
