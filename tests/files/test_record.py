"""Records: one line of JSON that every reader takes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaicli.files.record import artifact_record, plain_record, to_line


def test_the_fields_of_an_artifact_and_their_order() -> None:
    record = artifact_record(
        kind="images",
        path="a.h5",
        id="12",
        verb="attack",
        method="pgd",
        options={"eps": 0.5},
        rows=3,
        failed=1,
        parents={"checkpoint": {"id": "34", "path": "m.safetensors"}},
        metrics={"robust_accuracy": 0.25},
    )
    assert to_line(record) == (
        '{"xaicli":1,"kind":"images","path":"a.h5","id":"12","verb":"attack","method":"pgd","options":{"eps":0.5},'
        '"rows":3,"failed":1,"parents":{"checkpoint":{"id":"34","path":"m.safetensors"}},'
        '"metrics":{"robust_accuracy":0.25}}'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf")])
def test_numbers_that_are_not_finite_are_null(value: float) -> None:
    assert to_line(plain_record("metric", value=value, inside=[{"x": value}])) == (
        '{"xaicli":1,"kind":"metric","value":null,"inside":[{"x":null}]}'
    )


def test_numpy_scalars_are_plain_numbers() -> None:
    record = {"a": np.float64(0.5), "b": np.int64(3), "c": np.bool_(True), "d": (np.uint8(1), 2)}
    assert to_line(record) == '{"a":0.5,"b":3,"c":true,"d":[1,2]}'


@given(st.text())
def test_any_text_stays_on_its_line_and_comes_back(text: str) -> None:
    line = to_line({"path": text})
    line.encode()
    assert "\n" not in line
    assert json.loads(line) == {"path": text}


def test_a_file_name_that_is_no_utf8_comes_back() -> None:
    path = b"\xff.h5".decode(errors="surrogateescape")
    assert json.loads(to_line({"path": path}).encode()) == {"path": path}
