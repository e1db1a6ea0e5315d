"""The chance that privacy rests on: which rows a step draws, and the noise it adds, both from one secret key.

Whoever knows the key can take the noise away again, so it is the operating system's unless a seed is asked for, and
kept nowhere but in the file that a stopped training goes on from.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEY_BYTES = 32


@dataclass(frozen=True)
class Secret:
    """A key, and the draws of each step, which are functions of it: a step that is done again is the same release.

    Steps are counted over the whole training, so that no two of them share a draw.
    """

    key: str = field(repr=False)  # hex
    seeded: bool = False

    @classmethod
    def fresh(cls) -> Secret:
        """A key that nobody knows, from the operating system."""
        return cls(secrets.token_hex(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: int, training: str = "") -> Secret:
        """The key of a training that is to be repeatable: private only as long as the seed is.

        training: what tells it from others with this seed, which must not share its noise.
        """
        text = f"private\x1f{training}\x1f{seed}"
        return cls(blake2b(text.encode(), digest_size=KEY_BYTES).hexdigest(), seeded=True)

    def rows(self, step: int, total: int, rate: float) -> NDArray[np.int64]:
        """The rows of one step, ascending: each of `total` is drawn with probability `rate`, whatever the others do.

        They may be none at all.
        """
        return np.flatnonzero(self._generator("rows", step).random(total) < rate)

    def normal(self, step: int, name: str, like: Tensor) -> Tensor:
        """Standard normal noise for the parameter of this name: of its shape and type, the same on every device."""
        draws = self._generator(f"normal\x1f{name}", step).standard_normal(tuple(like.shape))
        return torch.from_numpy(np.asarray(draws)).to(like)

    def _generator(self, what: str, step: int) -> np.random.Generator:
        """A counter-based generator of its own for every step and purpose."""
        digest = blake2b(f"{step}\x1f{what}".encode(), digest_size=16, key=bytes.fromhex(self.key)).digest()
        return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64)))
