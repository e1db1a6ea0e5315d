from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaicli.errors import InputError
from xaicli.files.canonical import digest_json
from xaicli.files.columns import Column, attack_columns, attribution_columns, base_columns
from xaicli.files.layout import StoreLayout


def layout_of(shape, block, rows, dtype="<f4"):
    columns = attribution_columns(shape=shape, classes=10, key_length=4, dtype=dtype)
    return StoreLayout("attributions", {}, (), rows, block, columns)


@pytest.mark.parametrize(
    ("shape", "block", "chunk"),
    [
        ((3, 32, 32), 256, (64, 3, 32, 32)),  # 12,288 bytes a row: 85 fit, 64 divides the block
        ((1, 4, 4), 256, (256, 1, 4, 4)),
        ((3, 224, 224), 16, (1, 3, 224, 224)),  # 602,112 bytes a row
        ((1, 224, 224), 16, (4, 1, 224, 224)),
        ((3, 512, 512), 4, (1, 1, 512, 512)),  # a row of 3 MiB is cut by channels
        ((3, 1500, 1500), 2, (1, 1, 150, 1500)),  # and a channel of 9 MB by rows of pixels
        ((1, 32, 32), 48, (48, 1, 32, 32)),
        ((3, 128, 128), 48, (4, 3, 128, 128)),  # 5 fit, 4 divides 48
    ],
)
def test_chunks_divide_the_block_and_stay_under_one_mebibyte(shape, block, chunk):
    assert layout_of(shape, block, 1000).chunks["attribution"] == chunk


def test_chunk_is_no_longer_than_a_short_store():
    assert layout_of((1, 4, 4), 256, 5).chunks["attribution"] == (5, 1, 4, 4)


@given(st.tuples(st.integers(1, 4), st.integers(1, 700), st.integers(1, 700)), st.integers(1, 300), st.integers(1, 900))
def test_chunks_cover_every_block_exactly(shape, block, rows):
    layout = layout_of(shape, block, rows)
    column = layout.column("attribution")
    chunk = layout.chunks["attribution"]
    assert math.prod(chunk) * 4 <= 1 << 20
    for number in {0, layout.blocks - 1}:
        covered = len(list(layout.chunk_origins(column, number))) * math.prod(chunk)
        wanted = layout.block_rows(number) * math.prod(shape)
        assert 0 <= covered - wanted < chunk[0] * math.prod(shape)


def test_blocks_are_cut_with_a_short_last_one(example):
    assert [example.layout.block_rows(block) for block in range(example.layout.blocks)] == [4, 4, 4, 1]


def test_job_id_is_the_digest_of_the_job(example):
    assert example.layout.job_id == digest_json(example.layout.job)


def test_json_gives_the_layout_back(example):
    layout = replace(example.layout, sources=({"id": "ab"},))
    again = StoreLayout.from_json(layout.to_json(), "it")
    assert again == layout
    assert again.to_json() == layout.to_json()


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"kind":"attributions","columns":[["x","<f4"]]}'])
def test_json_that_is_no_layout_is_named(text):
    with pytest.raises(InputError, match=r"^the layout of maps\.h5"):
        StoreLayout.from_json(text, "the layout of maps.h5")


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 0},
        {"block": 0},
        {"columns": base_columns(4)},
        {"columns": attribution_columns(shape=(1, 2, 2), classes=2, key_length=2)[:3]},
        {"columns": attribution_columns(shape=(1, 2, 2), classes=2, key_length=2, extra=base_columns(4))},
        {"columns": attack_columns(shape=(1, 2, 2), classes=2, key_length=2)},
        {"columns": attribution_columns(shape=(1, 2, 2), classes=2, key_length=2, extra=[Column("curves/x", "<f4")])},
        {"attributes": {"header": "mine"}},
    ],
)
def test_layout_that_cannot_be_written_is_a_mistake(example, changes):
    with pytest.raises(ValueError, match=r"."):
        replace(example.layout, **changes)


def test_signal_is_what_a_viewer_plots_first(example):
    assert example.layout.signal == "attribution"
    assert StoreLayout("scores", {}, (), 1, 1, base_columns(1)).signal == "status"
    assert (
        StoreLayout("images", {}, (), 1, 1, attack_columns(shape=(1, 2, 2), classes=2, key_length=2)).signal == "data"
    )
