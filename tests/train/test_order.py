"""Which rows every step looks at, from wherever a training goes on."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from tests.train.private.runs import SECRET, budget
from xaicli.train.order import Order, Shuffled
from xaicli.train.private.noisy import Poisson

ORDERS: list[tuple[Order, int]] = [
    (Shuffled(10, 4, 3, seed=1), 3),
    (Shuffled(10, 4, 3, seed=1, replays=2), 6),
    (Poisson(budget(10, 4, 5), SECRET), 2),  # 10/4 rounded; the third epoch has one step
]


@pytest.mark.parametrize(("order", "per_epoch"), ORDERS)
def test_an_epoch_goes_on_at_any_step_with_what_was_left(order: Order, per_epoch: int) -> None:
    assert order.epochs == 3
    counts = []
    for epoch in (1, 2, 3):
        whole = list(order.batches(epoch, 0))
        counts.append(len(whole))
        assert order.before(epoch) == sum(counts[:-1])
        for first in range(len(whole)):
            rest = list(order.batches(epoch, first))
            assert len(rest) == len(whole) - first
            assert all(np.array_equal(one, other) for one, other in zip(rest, whole[first:], strict=True))
    assert counts[:2] == [per_epoch] * 2 and sum(counts) == order.steps == order.before(4)


def test_shuffled_rows_come_once_an_epoch_in_nearly_equal_batches() -> None:
    for replays in (1, 2):
        order = Shuffled(10, 4, 2, seed=1, replays=replays)
        passes = [list(order.batches(epoch, 0)) for epoch in (1, 2)]
        for batches in passes:
            assert [len(batch) for batch in batches] == list(chain(*([size] * replays for size in (4, 3, 3))))
            assert sorted(np.concatenate(batches[::replays])) == list(range(10))
            assert all(np.array_equal(batches[i], batches[i - i % replays]) for i in range(len(batches)))
        assert np.concatenate(passes[0]).tolist() != np.concatenate(passes[1]).tolist()
        assert (order.drawn, order.largest) == (20, 4)


def test_independent_rows_are_counted_over_the_whole_training() -> None:
    order = Poisson(budget(10, 4, 5), SECRET)
    drawn = [rows.tolist() for epoch in (1, 2, 3) for rows in order.batches(epoch, 0)]
    assert drawn == [SECRET.rows(step, 10, 0.4).tolist() for step in range(5)]
    assert (order.drawn, order.epochs) == (20, 3)
