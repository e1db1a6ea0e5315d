"""Rules of all other operations with weights: those that repeat a weight for every row, and any other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.train.private.gradients import Dense, Gradient
from xaicli.train.private.rule import Rule, Watched, Weights


@dataclass(frozen=True)
class Broadcast(Rule):
    """An operation that acts on every row alike, with one weight that it repeats for each: a sum, a product, `expand`.

    function: takes data and weight in the order of the network. rows: finds how many there are. rank: of the result.
    """

    function: Callable[..., Tensor]
    rows: Callable[[Sequence[Any]], int]
    rank: int

    def run(self, data: Sequence[Any], weights: Weights) -> Tensor:
        """The operation."""
        return self.function(data, weights[0])

    def watch(self, data: Sequence[Any], weights: Weights) -> Watched:
        """Every row gets its own view of the weight."""
        (weight,) = weights
        assert weight is not None
        whole = weight.reshape(*[1] * (self.rank - weight.dim()), *weight.shape)
        own = whole.expand(self.rows(data), *whole.shape[1:]).detach().requires_grad_()
        return Watched(self.function(data, own), own, [])

    def gradients(
        self, samples: int, data: Sequence[Any], weights: Weights, asked: Tensor, wanted: Sequence[bool]
    ) -> list[Gradient | None]:
        """Sums over the rows of a sample."""
        (weight,) = weights
        assert weight is not None
        return [Dense(asked.reshape(samples, -1, *weight.shape).sum(1))]


@dataclass(frozen=True)
class Anything(Rule):
    """Any operation on whole rows, by running its derivative sample by sample (torch's `vmap`).

    function: takes data and weights. name: of the layer, for errors.
    """

    function: Callable[[Sequence[Any], Weights], Any]
    name: str

    def run(self, data: Sequence[Any], weights: Weights) -> Tensor:
        """The operation. Raises InputError if it returns anything but one tensor."""
        output = self.function(data, weights)
        if not isinstance(output, Tensor):
            raise InputError(f"the layer '{self.name}' returns more than one tensor; use an architecture without it.")
        return output

    def gradients(
        self, samples: int, data: Sequence[Any], weights: Weights, asked: Tensor, wanted: Sequence[bool]
    ) -> list[Gradient | None]:
        """As the operation's own derivative says."""
        chosen = [number for number, one in enumerate(wanted) if one]

        def gradient(outer: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
            waiting = iter(rows)
            given = [next(waiting) if isinstance(part, Tensor) else part for part in data]

            def operation(*some: Tensor) -> Tensor:
                new = dict(zip(chosen, some, strict=True))
                return self.run(given, [new.get(number, weight) for number, weight in enumerate(weights)])

            pull: Any = torch.func.vjp(operation, *(weights[number] for number in chosen))[1]
            pulled: tuple[Tensor, ...] = pull(outer)
            return pulled

        parts = [part.reshape(samples, -1, *part.shape[1:]) for part in (asked, *data) if isinstance(part, Tensor)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # vmap's own loop, where it has no rule
            found = iter(torch.func.vmap(gradient)(*parts))
        return [Dense(next(found)) if one else None for one in wanted]
