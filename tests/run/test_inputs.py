"""Rows: what is read, what names them, what cannot be used."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from xaicli.errors import InputError
from xaicli.files.columns import Status
from xaicli.run.inputs import READ_ROWS, Inputs, match_rows


def test_rows_carry_their_identity(plain_data) -> None:
    data = plain_data(6)
    rows = Inputs(data, np.array([1, 4, 5])).load(1, 3)
    columns = rows.columns()
    assert rows.positions.tolist() == rows.index.tolist() == [4, 5] and rows.labels.tolist() == [0, 1]
    assert columns["key"].tolist() == [b"00004", b"00005"]
    assert columns["status"].tolist() == [Status.OK] * 2
    assert np.array_equal(rows.pixels, data.pixels[4:])
    expected = hashlib.sha256(b"<f4[1,3,3]" + data.pixels[4].tobytes()).digest()[:16]
    assert columns["sample"][0].tobytes() == expected
    columns["status"][:] = 9
    assert rows.status.tolist() == [Status.OK] * 2  # the caller's changes stay the caller's


def test_rows_that_cannot_be_used_are_zero_and_say_why(plain_data) -> None:
    data = plain_data(3)
    data.pixels[0, 0, 1, 1] = np.inf
    data.readable[2] = False
    rows = Inputs(data, np.arange(3)).load(0, 3)
    assert rows.status.tolist() == [Status.NON_FINITE, Status.OK, Status.UNREADABLE]
    assert (rows.pixels[[0, 2]] == 0).all() and (rows.pixels[1] == data.pixels[1]).all()
    assert np.isinf(data.pixels[0]).any()  # the source is left alone


def test_pieces_are_all_rows_in_their_order(plain_data) -> None:
    inputs = Inputs(plain_data(2 * READ_ROWS + 3), np.arange(2 * READ_ROWS + 3)[::-1])
    pieces = [rows.index for rows in inputs.pieces()]
    assert [len(piece) for piece in pieces] == [READ_ROWS, READ_ROWS, 3]
    assert np.array_equal(np.concatenate(pieces), inputs.index)


def test_rows_are_matched_by_their_numbers(plain_data) -> None:
    data = plain_data(5)
    assert match_rows(data, np.array([3, 0]), "x").positions.tolist() == [3, 0]
    with pytest.raises(InputError, match="row 7 of 'x'"):
        match_rows(data, np.array([3, 7]), "x")
