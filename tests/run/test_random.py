"""Random numbers belong to (seed, stream, index)."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from xaicli.run.random import Stream, generator


@given(
    index=st.lists(st.integers(0, 2**40), min_size=1, max_size=5), seed=st.integers(0, 2**31), name=st.text(max_size=9)
)
def test_a_row_draws_what_a_generator_of_its_own_would(index: list[int], seed: int, name: str) -> None:
    stream = Stream(seed, name, tuple(index))
    for kind, draws in (("normal", stream.normal((3, 2))), ("uniform", stream.uniform((3, 2)))):
        for row, found in zip(index, draws, strict=True):
            rng = generator(seed, f"{name}#{kind}", row)
            expected = rng.standard_normal((3, 2), np.float32) if kind == "normal" else rng.random((3, 2), np.float32)
            assert np.array_equal(found, expected)


def test_seed_stream_index_kind_and_fork_all_matter() -> None:
    base = Stream(0, "a", (1,))
    others = [Stream(1, "a", (1,)), Stream(0, "b", (1,)), Stream(0, "a", (2,)), base.fork("x"), base.row(0, "x:1")]
    draws = [stream.uniform((4,)).tobytes() for stream in [base, *others]]
    assert len(set(draws)) == 6
    assert base.fork("x").index == base.row(0, "x").index == (1,)
    assert np.array_equal(base.uniform((4,)), Stream(0, "a", (9, 1)).uniform((4,))[1:])


def test_the_distributions() -> None:
    stream = Stream(3, "many", tuple(range(2000)))
    assert kstest(stream.uniform((5,)).ravel(), "uniform").pvalue > 0.01
    assert kstest(stream.normal((5,)).ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(stream.uniform((1,))[:, 0], stream.normal((1,))[:, 0])[0, 1]) < 0.06
