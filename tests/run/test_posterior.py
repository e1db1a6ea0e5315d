"""Noise for Bayesian networks is the numbers of its stream."""

from __future__ import annotations

import torch

from xaicli.run.posterior import noise_of
from xaicli.run.random import Stream


def test_noise_is_the_streams_numbers_by_name_for_every_row() -> None:
    stream = Stream(3, "draw:1", (7, 2))
    noise = noise_of(stream, torch.zeros((), dtype=torch.float64))
    found = noise("layer:0", torch.Size((4, 5)))
    assert found.dtype == torch.float64
    assert found.tolist() == stream.fork("layer:0").normal((4, 5)).tolist()
    assert not torch.equal(found, noise("layer:1", (4, 5)))
