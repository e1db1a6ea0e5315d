"""The block loop: units, completed blocks, failed rows."""

from __future__ import annotations

import numpy as np
import pytest

from xaicli.errors import UsageError
from xaicli.files.columns import Status
from xaicli.run.blocks import Output, Result, auto_block, run_blocks
from xaicli.run.inputs import Inputs


class Log:
    """Stands in for a store's writer."""

    def __init__(self, done: set[int] | None = None) -> None:
        self.done = done or set()
        self.written: dict[int, tuple[dict, dict]] = {}

    def write(self, block: int, columns: dict, sums: dict) -> None:
        self.written[block] = (columns, sums)


def test_auto_block() -> None:
    assert [auto_block(f, None) for f in (1, 16, 17, 50, 102, 4096, 4097, 50000)] == [256, 256, 128, 64, 32, 1, 1, 1]
    assert auto_block(50, 512) == 512
    for wrong in (0, 3, -4):
        with pytest.raises(UsageError, match="power of two"):
            auto_block(1, wrong)


def test_units_of_the_smallest_block_make_whole_blocks(plain_data) -> None:
    inputs = Inputs(plain_data(11), np.arange(11))
    small, large = Output(Log({1}), 2), Output(Log(), 4)
    asked = []

    def compute(rows, wanted):
        asked.append((rows.index.tolist(), list(wanted)))
        ok = np.full(len(rows), Status.OK, np.uint8)
        return {
            n: Result({"twice": rows.index * 2.0, "status": ok}, {"c": np.stack([rows.index, rows.index], 1)})
            for n in wanted
        }

    run_blocks(inputs, [small, large], compute, "test")
    units = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]
    assert asked == [(unit, [1] if unit == [2, 3] else [0, 1]) for unit in units]
    assert sorted(small.writer.written) == [0, 2, 3, 4, 5] and sorted(large.writer.written) == [0, 1, 2]
    columns, sums = large.writer.written[1]
    assert columns["twice"].tolist() == [8, 10, 12, 14]
    assert columns["key"].tolist() == [b"00004", b"00005", b"00006", b"00007"]
    assert sums["c"].tolist() == [22, 22, 4]
    assert large.writer.written[2][1]["c"].tolist() == [27, 27, 3]


def test_rows_that_failed_lose_their_numbers_and_leave_the_mean_curve(plain_data) -> None:
    data = plain_data(4)
    data.pixels[1] = np.nan
    data.readable[2] = False
    output = Output(Log(), 4)

    def compute(rows, wanted):
        status = np.array([1, 1, 1, Status.FAILED], np.uint8)
        assert (rows.pixels[1:3] == 0).all()
        values = np.array([1.0, 2, 3, 4], np.float32)
        curve = np.array([[1.0], [2], [3], [4]])
        return {0: Result({"value": values, "class": np.arange(4), "status": status}, {"c": curve})}

    run_blocks(Inputs(data, np.arange(4)), [output], compute, "test")
    columns, sums = output.writer.written[0]
    assert columns["status"].tolist() == [Status.OK, Status.NON_FINITE, Status.UNREADABLE, Status.FAILED]
    assert np.array_equal(columns["value"], [1, np.nan, np.nan, np.nan], equal_nan=True)
    assert columns["class"].tolist() == [0, 1, 2, 3]
    assert sums["c"].tolist() == [1, 1]
