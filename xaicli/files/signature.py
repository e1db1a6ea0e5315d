"""What a file is, told from its first bytes: a name's ending proves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from xaicli.errors import MissingError

Signature = Literal["store", "checkpoint", "pickle"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"  # torch.save since 1.6 writes a pickle inside a zip file
_PICKLE_PROTOCOLS = range(2, 6)  # a pickle of protocol n >= 2 starts with the bytes 80 n
_SAFETENSORS_HEADER_LIMIT = 100_000_000  # the library's own


def signature(path: str | Path) -> Signature | None:
    """The kind of artifact in a file: a store (HDF5), a checkpoint (safetensors), a pickle, or None of these.

    Reads nine bytes and trusts nothing further. Raises MissingError when there is no readable file.
    """
    path = Path(path)
    if path.is_dir():
        raise MissingError(f"'{path}' is a folder where a file was expected; name a file in it.")
    try:
        with path.open("rb") as file:
            start = file.read(9)
        size = path.stat().st_size
    except FileNotFoundError:
        raise MissingError(f"'{path}' does not exist; check the path.") from None
    except OSError as error:
        raise MissingError(f"'{path}' cannot be read ({error.strerror}); check its permissions.") from error
    if start.startswith(_HDF5):
        return "store"
    if len(start) == 9 and start[8:] == b"{":  # first: the length of a header may begin like a pickle
        header = int.from_bytes(start[:8], "little")
        if header <= min(_SAFETENSORS_HEADER_LIMIT, size - 8):
            return "checkpoint"
    if start.startswith(_ZIP) or (start[:1] == b"\x80" and len(start) > 1 and start[1] in _PICKLE_PROTOCOLS):
        return "pickle"
    return None
