"""Image shapes as they are typed: CxHxW."""

from __future__ import annotations

import re

from xaicli.errors import UsageError


def parse_shape(text: str) -> tuple[int, int, int]:
    """`3x32x32` as (3, 32, 32)."""
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text.strip().lower())
    if not found or 0 in (sizes := tuple(int(part) for part in found.groups())):
        raise UsageError(f"--input '{text}' is not a shape; write channels x height x width, such as 3x32x32.")
    return sizes[0], sizes[1], sizes[2]
