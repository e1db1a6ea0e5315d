"""What every kind of operation does with its weights: how it is run, and the gradients of single samples it gives.

A rule runs an operation with weights that autograd is not told of, and names the tensor whose gradient it wants: what
the operation returns, or weights repeated for every row. Rows of one sample lie next to each other, several where a
sample is augmented or cut into windows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from xaicli.train.private.gradients import Gradient

Weights: TypeAlias = Sequence[Tensor | None]


@dataclass(frozen=True, eq=False)
class Watched:
    """What an operation returned, the tensor whose gradient tells those of its weights, and what that takes besides."""

    output: Tensor
    asked: Tensor
    data: list[Any]


class Rule(ABC):
    """One operation of a network, its data and weights apart."""

    @abstractmethod
    def run(self, data: Sequence[Any], weights: Weights) -> Tensor:
        """The operation."""

    @abstractmethod
    def gradients(
        self, samples: int, data: Sequence[Any], weights: Weights, asked: Tensor, wanted: Sequence[bool]
    ) -> list[Gradient | None]:
        """For every weight that is wanted, the gradients of the samples, from the gradient that was asked for."""

    def watch(self, data: Sequence[Any], weights: Weights) -> Watched:
        """Run it on weights without gradients."""
        output = self.run(data, weights)
        return Watched(output, with_gradient(output), kept(data))


def with_gradient(output: Tensor) -> Tensor:
    """The tensor itself, a leaf if nothing before it has a gradient."""
    return output if output.requires_grad else output.requires_grad_()


def kept(data: Sequence[Any]) -> list[Any]:
    """Data without their gradients."""
    return [part.detach() if isinstance(part, Tensor) else part for part in data]
