"""Trainings that are stopped at a boundary of one's choice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from xaicli.run.stop import STOP, Stop


@pytest.fixture(autouse=True)
def _nobody_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STOP, "_reason", None)


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`stop_at(k)`: a wish is there when the training asks for the k-th time; at every boundary it asks once."""

    def wish(number: int | None) -> None:
        asked = count(1)
        monkeypatch.setattr(Stop, "wanted", property(lambda stop: next(asked) == number))

    return wish
