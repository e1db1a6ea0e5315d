"""What a checkpoint says of itself: one JSON document, validated field by field and sealed by its own digest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard
from unicodedata import category

from xaicli.errors import InputError
from xaicli.files.canonical import canonical_json, digest_json, parse_json
from xaicli.files.record import finite

SCHEMA = 1
LARGEST_METADATA = 1 << 20  # bytes of JSON (SPEC 4)
_MOST_CLASSES = 65534  # the stores' u2 labels, less the two values that mean "unknown" and "none"
_MOST_VALUES = 1 << 26  # per image; a size that no file backs must not make a reader allocate
_MOST_CHANNELS = 1024
_HEX = frozenset("0123456789abcdef")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CheckpointMeta:
    """The metadata of a checkpoint (SPEC 4): no clock, no host, and no path but that of a user's factory file."""

    job: Json
    """What the weights depend on; `job_id` is the sha256 of its canonical JSON."""
    job_id: str
    arch: Json
    """`name` and `options`; for a user's factory also `file` (absolute path) and `sha256`."""
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height and width of the images."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """One value per channel, of pixels in [0, 1]."""
    data: Json | None = None
    """The training data: `name`, digests and `split_seed`."""
    recipe: Json | None = None
    """`name` and `options`; None for imported weights."""
    epochs: int = 0
    metrics: Json = field(default_factory=dict)
    history: tuple[Json, ...] = ()
    """One entry per epoch: `epoch`, `loss`, accuracies, `lr`; never seconds."""
    threat: Json | None = None
    privacy: Json | None = None
    posterior: Json | None = None
    rejection: Json | None = None
    lineage: tuple[Json, ...] = ()
    """The commands that led to this file, oldest first."""
    versions: dict[str, str] = field(default_factory=dict)
    tensors: str = ""
    """sha256 over all tensors; filled in when the checkpoint is written."""
    schema: int = SCHEMA

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.shape[0]

    @property
    def recipe_name(self) -> str:
        """The recipe that made the weights."""
        return str((self.recipe or {}).get("name") or "imported")

    def data_of(self, split: str) -> Json:
        """A split of the training data, as artifacts name it; empty where the data has no name."""
        recorded = dict(self.data or {})
        if not recorded.get("name"):
            return {}
        if split == "test":
            recorded |= {"digest": recorded.get("test_digest"), "train_digest": recorded.get("digest")}
        return {**recorded, "split": split}


def encode_meta(meta: CheckpointMeta) -> str:
    """The canonical JSON of the metadata with its digest; numbers that are not finite become null.

    Raises InputError when the result could not be read back: a field of the wrong kind, or more than 1 MiB.
    """
    document = {item.name: finite(getattr(meta, item.name)) for item in fields(meta)}
    try:
        text = canonical_json({**document, "digest": digest_json(document)})
    except UnicodeEncodeError as error:  # a file name that is not UTF-8 became a class name
        raise InputError(
            f"the new checkpoint's metadata is not valid Unicode ({error.reason}); rename the class."
        ) from None
    decode_meta(text, "the new checkpoint")
    return text


def decode_meta(text: str, what: str) -> CheckpointMeta:
    """Validate metadata that nobody vouches for; `what` names the file in the InputError."""
    if len(text.encode(errors="replace")) > LARGEST_METADATA:
        raise InputError(f"{what} has more than 1 MiB of metadata; keep less of the history, or use another file.")
    document = parse_json(text, f"the metadata of {what}")
    if not isinstance(document, dict):
        raise InputError(f"the metadata of {what} is no JSON object; the file is damaged or was not written by xaicli.")
    schema = document.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise InputError(
            f"{what} has checkpoint schema {schema!r}, but this version of xaicli reads schema {SCHEMA}; "
            "use the version that wrote it, or train again."
        )
    seal = document.pop("digest", None)
    if seal != _digest(document):
        raise InputError(
            f"the metadata of {what} does not match its digest: the file was damaged or edited; restore it."
        )
    for name, (fits, expected) in _RULES.items():
        if name not in document or not fits(document[name]):
            raise InputError(f"the metadata of {what} has a bad '{name}': expected {expected}; write the file again.")
    meta = _build(document)
    if len(meta.mean) != meta.channels or len(meta.std) != meta.channels:
        raise InputError(
            f"{what} normalises {len(meta.mean)} and {len(meta.std)} channels, but its images have {meta.channels}; "
            "write the file again."
        )
    if meta.job_id != _digest(meta.job):
        raise InputError(f"the job_id of {what} is not the digest of its job; write the file again.")
    return meta


def _build(document: Json) -> CheckpointMeta:
    known = {item.name: document[item.name] for item in fields(CheckpointMeta)}
    for name in ("classes", "shape", "history", "lineage"):
        known[name] = tuple(known[name])
    for name in ("mean", "std"):
        known[name] = tuple(float(value) for value in known[name])
    return CheckpointMeta(**known)


def _digest(value: object) -> str | None:
    try:
        return digest_json(value)
    except (ValueError, RecursionError):  # a lone surrogate, or JSON nested just below the parser's limit
        return None


def _is_text(value: object) -> TypeGuard[str]:
    """Not empty and without control characters, which a terminal would obey."""
    return isinstance(value, str) and value != "" and not any(category(letter) in ("Cc", "Cs") for letter in value)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _is_number(value: object) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_sha256(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) == 64 and _HEX.issuperset(value)


def _is_object(value: object) -> TypeGuard[Json]:
    return isinstance(value, dict)


def _is_object_or_null(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _are_classes(value: object) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= _MOST_CLASSES and all(_is_text(item) for item in value)


def _is_shape(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 3 or not all(_is_count(item) for item in value):
        return False
    return value[0] <= _MOST_CHANNELS and 1 <= math.prod(value) <= _MOST_VALUES


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(_is_number(item) for item in value)


def _are_positive(value: object) -> bool:
    return isinstance(value, list) and all(_is_number(item) and item > 0 for item in value)


def _is_arch(value: object) -> bool:
    if not _is_object(value) or not _is_text(value.get("name")) or not _is_object(value.get("options")):
        return False
    if "file" not in value and "sha256" not in value:
        return True
    return _is_text(value.get("file")) and _is_sha256(value.get("sha256"))


def _are_versions(value: object) -> bool:
    return _is_object(value) and all(isinstance(item, str) for item in value.values())


_OBJECT_OR_NULL = (_is_object_or_null, "an object or null")
_RULES: dict[str, tuple[Callable[[object], bool], str]] = {
    "job": (_is_object, "an object"),
    "job_id": (_is_sha256, "64 hex digits"),
    "arch": (_is_arch, "an object with a name and options, and for a factory its file and sha256"),
    "classes": (_are_classes, f"1 to {_MOST_CLASSES} names without control characters"),
    "shape": (
        _is_shape,
        f"channels (at most {_MOST_CHANNELS}), height and width with a product of at most {_MOST_VALUES}",
    ),
    "mean": (_are_numbers, "one finite number per channel"),
    "std": (_are_positive, "one positive number per channel"),
    "data": _OBJECT_OR_NULL,
    "recipe": _OBJECT_OR_NULL,
    "epochs": (_is_count, "a whole number"),
    "metrics": (_is_object, "an object"),
    "history": (_are_objects, "a list of objects"),
    "threat": _OBJECT_OR_NULL,
    "privacy": _OBJECT_OR_NULL,
    "posterior": _OBJECT_OR_NULL,
    "rejection": _OBJECT_OR_NULL,
    "lineage": (_are_objects, "a list of objects"),
    "versions": (_are_versions, "an object of texts"),
    "tensors": (_is_sha256, "64 hex digits"),
}
