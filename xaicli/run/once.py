"""What is found once a run, however often it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Once:
    """Called with a key and how to find what belongs to it; it is found when it is first asked for."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, find: Callable[[], T]) -> T:
        """What `find` answers, or has answered for this key."""
        if key not in self._found:
            self._found[key] = find()
        return cast(T, self._found[key])
