"""The header digest: one number for everything in a store that is not a row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from xaicli.errors import InputError
from xaicli.files.canonical import digest_json
from xaicli.files.hdf5 import SUMMARY_LIMIT
from xaicli.files.layout import SUMMARY_GROUPS

SEGMENT_GROUP = "blocks"
_UNCOVERED = frozenset(("header", "job_id", "content"))  # header itself, and what the id covers beside it

Plain = str | int | list[Any]


def header_digest(objects: Mapping[str, Any]) -> str:
    """sha256 over the structure of an HDF5 file and over its summaries' bytes, 64 hex digits.

    objects: what `hostile.inspect` lists. Covered are the root's attributes (but `header`, `job_id` and `content`), the
    groups with their attributes, and each dataset's path, type, shape and attributes, and of summaries the bytes.
    Rows are left out: each has its own digest.
    """
    root = {name: value for name, value in attributes_of(objects[""]).items() if name not in _UNCOVERED}
    groups = {name: attributes_of(item) for name, item in objects.items() if name and isinstance(item, h5py.Group)}
    datasets = {name: _describe(name, item) for name, item in objects.items() if isinstance(item, h5py.Dataset)}
    return digest_json({"attributes": root, "groups": groups, "datasets": datasets})


def is_summary(name: str) -> bool:
    """Whether a dataset holds something other than one value per row: mean curves, aggregates, a segment's table."""
    return name.split("/")[0] in (*SUMMARY_GROUPS, SEGMENT_GROUP)


def attributes_of(item: Any) -> dict[str, Plain]:
    """The attributes of a file, group or dataset as texts, integers and lists of them."""
    return {name: _plain(name, item.attrs[name]) for name in item.attrs}


def read_summary(name: str, dataset: Any) -> Any:
    """A summary dataset: an array, or a text."""
    if dataset.id.get_storage_size() > SUMMARY_LIMIT or dataset.id.get_create_plist().get_nfilters():
        raise InputError(
            f"/{name} of '{dataset.file.filename}' is too large for a summary, or compressed; make it again."
        )
    value = dataset[()]
    return value.decode() if isinstance(value, bytes) else value


def _describe(name: str, dataset: Any) -> dict[str, Any]:
    described = {"type": _type_name(dataset), "shape": list(dataset.shape), "attributes": attributes_of(dataset)}
    if is_summary(name):
        value = read_summary(name, dataset)
        data = value.encode() if isinstance(value, str) else np.asarray(value).tobytes()
        described["sha256"] = hashlib.sha256(data).hexdigest()
    return described


def _type_name(dataset: Any) -> str | list[Any]:
    members = h5py.check_enum_dtype(dataset.dtype)
    return [dataset.dtype.str, sorted(members.items())] if members else str(dataset.dtype.str)


def _plain(name: str, value: Any) -> Plain:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(name, item) for item in value]
    if isinstance(value, np.int64):  # no other type of integer is written
        value = int(value)
    if isinstance(value, str | int):
        return value
    raise InputError(f"the attribute {name!r} holds {type(value).__name__}, which no store has; make the file again.")
