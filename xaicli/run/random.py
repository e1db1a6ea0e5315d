"""Random numbers that belong to (seed, stream, index): the same for a row whatever runs beside or before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def generator(seed: int, stream: str, index: int = 0) -> np.random.Generator:
    """A counter-based generator keyed by a hash of the three; streams with different keys are independent."""
    return np.random.Generator(np.random.Philox(key=_key(seed, stream, index)))


def _key(seed: int, stream: str, index: int) -> npt.NDArray[np.uint64]:
    digest = blake2b(f"{seed}\x1f{stream}\x1f{index}".encode(), digest_size=16).digest()
    return np.frombuffer(digest, dtype=np.uint64)


@dataclass(frozen=True)
class Stream:
    """The draws of one query for some rows. `index` holds the rows' numbers in their data set."""

    seed: int
    name: str
    index: tuple[int, ...]

    def normal(self, shape: Sequence[int]) -> npt.NDArray[np.float32]:
        """Standard normal numbers, float32 [n, *shape]; independent of the uniform ones."""
        return self._draw("normal", lambda rng: rng.standard_normal(tuple(shape), dtype=np.float32), shape)

    def uniform(self, shape: Sequence[int]) -> npt.NDArray[np.float32]:
        """Uniform numbers in [0, 1), float32 [n, *shape]."""
        return self._draw("uniform", lambda rng: rng.random(tuple(shape), dtype=np.float32), shape)

    def fork(self, name: str) -> Stream:
        """An independent stream for the same rows."""
        return Stream(self.seed, f"{self.name}/{name}", self.index)

    def row(self, position: int, name: str) -> Stream:
        """An independent stream for one of the rows."""
        return Stream(self.seed, f"{self.name}/{name}", (self.index[position],))

    def _draw(
        self, kind: str, draw: Callable[[np.random.Generator], npt.NDArray[np.float32]], shape: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        out = np.empty((len(self.index), *shape), dtype=np.float32)
        bits = np.random.Philox(key=0)
        fresh, rng = bits.state, np.random.Generator(bits)
        for position, row in enumerate(self.index):
            # the same as a new generator(...), which would take four times as long to make
            fresh["state"]["key"] = _key(self.seed, f"{self.name}#{kind}", row)
            bits.state = fresh
            out[position] = draw(rng)
        return out
