from __future__ import annotations

import numpy as np
import pytest

from xaicli.files.columns import (
    STATUS_NAMES,
    Column,
    Status,
    attack_columns,
    attribution_columns,
    finding_columns,
    generate_columns,
    longest_key,
    score_columns,
)


def names_and_types(columns):
    return {column.name: (column.dtype, column.shape) for column in columns}


BASE = {
    "index": ("<u8", ()),
    "label": ("<u2", ()),
    "status": ("|u1", ()),
    "key": ("|S7", ()),
    "sample": ("|u1", (16,)),
    "digest": ("|u1", (16,)),
}


def test_attributions_hold_what_the_specification_lists():
    columns = attribution_columns(
        shape=(1, 8, 9), classes=10, key_length=7, dtype="<f2", completeness=True, inputs=((3, 8, 9), "|u1")
    )
    assert names_and_types(columns) == BASE | {
        "target": ("<u2", ()),
        "against": ("<u2", ()),
        "prediction": ("<f4", (10,)),
        "completeness": ("<f4", ()),
        "data": ("|u1", (3, 8, 9)),
        "attribution": ("<f2", (1, 8, 9)),
    }


def test_attacked_images_hold_what_the_specification_lists():
    assert names_and_types(attack_columns(shape=(3, 8, 8), classes=10, key_length=7)) == BASE | {
        "target": ("<u2", ()),
        "prediction": ("<f4", (10,)),
        "success": ("|b1", ()),
        "distance": ("<f4", ()),
        "steps": ("<u4", ()),
        "data": ("<f4", (3, 8, 8)),
    }


def test_generated_images_hold_what_the_specification_lists():
    assert names_and_types(generate_columns(shape=(3, 8, 8), classes=10, key_length=7, steps=60)) == BASE | {
        "target": ("<u2", ()),
        "start": ("<i8", ()),
        "prediction": ("<f4", (10,)),
        "score": ("<f4", ()),
        "loss": ("<f4", (60,)),
        "data": ("|u1", (3, 8, 8)),
    }


def test_scores_hold_one_number_per_source_and_metric():
    columns = score_columns([["deletion@black", "deletion@mean"], ["insertion"]], key_length=7)
    assert names_and_types(columns) == BASE | {
        "sources/0/deletion@black": ("<f4", ()),
        "sources/0/deletion@mean": ("<f4", ()),
        "sources/1/insertion": ("<f4", ()),
    }


def test_stores_without_maps_hold_what_was_found():
    found = [Column("features", "<f4", (6,))]
    columns = finding_columns(classes=10, key_length=7, explained=False, extra=found)
    assert names_and_types(columns) == BASE | {"prediction": ("<f4", (10,)), "features": ("<f4", (6,))}
    columns = finding_columns(
        classes=10, key_length=7, inputs=((3, 8, 9), "|u1"), extra=[Column("exciting", "<u8", (5,))]
    )
    assert names_and_types(columns) == BASE | {
        "target": ("<u2", ()),
        "against": ("<u2", ()),
        "prediction": ("<f4", (10,)),
        "exciting": ("<u8", (5,)),
        "data": ("|u1", (3, 8, 9)),
    }


def test_unknown_rows_are_nan_none_or_zero():
    columns = {column.name: column for column in attribution_columns(shape=(1, 1, 2), classes=1, key_length=3)}
    assert np.isnan(columns["attribution"].empty(2)).all()
    assert columns["attribution"].empty(2).shape == (2, 1, 1, 2)
    assert columns["label"].empty(1).tolist() == columns["against"].empty(1).tolist() == [65535]
    assert columns["status"].empty(1).tolist() == [Status.MISSING]
    assert columns["key"].empty(1).tolist() == [b""]


def test_status_names_are_those_of_the_specification():
    assert dict(STATUS_NAMES) == {"missing": 0, "ok": 1, "non-finite": 2, "unreadable": 3, "failed": 4}
    assert [status.name.lower().replace("_", "-") for status in Status] == list(STATUS_NAMES)


def test_encoding_copies_converts_and_writes_utf8():
    values = np.array([1, 2], dtype=np.int64)
    encoded = Column("label", "<u2").encode(values, 2)
    values[0] = 9
    assert encoded.tolist() == [1, 2]
    assert encoded.dtype == np.uint16
    assert Column("key", "|S4").encode(["é", "ab"], 2).tolist() == ["é".encode(), b"ab"]
    assert Column("key", "|S4").encode(np.array(["é"]), 1).tolist() == ["é".encode()]
    assert Column("success", "|b1").encode([True, False], 2).tolist() == [True, False]
    assert Column("x", "<f2").encode(np.array([1e9, np.nan]), 2).tolist()[0] == np.inf


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (Column("label", "<u2"), [1, 2, 3]),
        (Column("label", "<u2"), [-1, 2]),
        (Column("label", "<u2"), [65536, 2]),
        (Column("label", "<u2"), [0.5, 2.0]),
        (Column("key", "|S4"), ["abcde", "f"]),
        (Column("key", "|S4"), [1, 2]),
        (Column("success", "|b1"), [0, 1]),
        (Column("x", "<f4", (2,)), [[1.0], [2.0]]),
        (Column("x", "<f4"), [1j, 2j]),
    ],
)
def test_values_that_do_not_fit_are_a_mistake(column, values):
    with pytest.raises(ValueError, match=column.name):
        column.encode(values, 2)


@pytest.mark.parametrize(
    "arguments",
    [("x", ">f4"), ("x", "O"), ("x", "<c8"), ("x", "|S0"), ("", "<f4"), ("a/../b", "<f4"), ("x", "<f4", (0,))],
)
def test_column_that_no_store_can_hold_is_a_mistake(arguments):
    with pytest.raises(ValueError, match="column"):
        Column(*arguments)


def test_longest_key_counts_bytes():
    assert longest_key(["abc", "éé"]) == 4
    assert longest_key([]) == longest_key([""]) == 1


def test_extra_columns_go_along():
    extra = [Column("r2", "<f4")]
    assert "r2" in names_and_types(attribution_columns(shape=(1, 2, 2), classes=2, key_length=3, extra=extra))
    assert "r2" in names_and_types(score_columns([["a"]], key_length=3, extra=extra))
