"""Canonical JSON: one text per value, so that equal jobs have equal digests on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NoReturn

from xaicli.errors import InputError


def canonical_json(value: object) -> str:
    """The only JSON text of a value: keys sorted, no spaces, characters unescaped.

    value: dicts with string keys, lists, tuples, strings, booleans, integers, finite floats and None.
    Raises ValueError for NaN and infinities and TypeError for anything else: both are mistakes of the caller.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_json(value: object) -> str:
    """sha256 (64 hex digits) of the canonical JSON in UTF-8."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def parse_json(text: str, what: str) -> Any:
    """The value of JSON text from a file that nobody vouches for.

    what: the text's name in the error, such as "the attribute 'job' of maps.h5". Raises InputError for text that is no
    JSON, that nests too deeply, or that holds NaN or infinities.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{what} is not valid JSON ({reason}); restore the file or make it again.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
