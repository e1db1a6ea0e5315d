"""Opening an HDF5 file of ours: structure first, then schema and header, before anybody uses a byte of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from xaicli.errors import InputError, XaicliError
from xaicli.files.cycles import check_root
from xaicli.files.header import Plain, attributes_of, header_digest
from xaicli.files.hostile import inspect
from xaicli.files.layout import SCHEMA
from xaicli.files.signature import signature


@dataclass(frozen=True)
class VerifiedFile:
    """An open file whose structure is harmless and whose header is intact. Rows are not read yet.

    objects: every group and dataset by path. attributes: those of the root.
    """

    path: Path
    file: Any
    objects: dict[str, Any]
    attributes: dict[str, Plain]

    def text(self, name: str) -> str:
        """A root attribute that has to be a text."""
        value = self.attributes.get(name)
        if not isinstance(value, str):
            raise InputError(f"'{self.path}' lacks the attribute {name!r} of a store; check that xaicli wrote it.")
        return value

    def number(self, name: str) -> int:
        """A root attribute that has to be a positive integer."""
        value = self.attributes.get(name)
        if not isinstance(value, int) or value < 1:
            raise InputError(f"'{self.path}' lacks the attribute {name!r} of a store; check that xaicli wrote it.")
        return value


def open_verified(path: Path, max_memory: int | None = None) -> VerifiedFile:
    """Open a store or a segment. Raises MissingError, RefusedError or InputError; else the caller closes `.file`."""
    if signature(path) != "store":
        raise InputError(f"'{path}' is not an HDF5 file; name a store that xaicli wrote.")
    check_root(path)
    with reading(path):
        file = h5py.File(path, "r")
    try:
        with reading(path):
            objects = inspect(file, path, max_memory)
            verified = VerifiedFile(path, file, objects, attributes_of(file))
            schema = verified.number("xaicli_schema")
            if schema != SCHEMA:
                raise InputError(f"'{path}' has schema {schema}, and this xaicli reads {SCHEMA}; use a newer xaicli.")
            if header_digest(objects) != verified.text("header"):
                raise InputError(f"'{path}' is damaged: its header does not have its digest; make the file again.")
            return verified
    except BaseException:
        file.close()
        raise


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever HDF5, h5py and numpy raise over a damaged file into one InputError."""
    try:
        yield
    except XaicliError:
        raise
    except Exception as error:  # a flipped bit surfaces as any of a dozen exceptions
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        raise InputError(f"'{path}' is damaged or truncated ({reason}); make the file again.") from error
