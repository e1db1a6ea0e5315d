"""Gradients of single samples in two forms: multiplied out, or as the matrices whose product they are.

Of both, a training needs the norms and one weighted sum; the second form can give them without ever holding a gradient
per sample ("ghost clipping", Li et al., 2022; mixed with the first form by cost, Bu et al., 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Dense:
    """Gradients with respect to a weight, [n, ...]; `axes` turns their axes behind the first into the weight's."""

    values: Tensor
    axes: tuple[int, ...] | None = None

    def norms(self) -> Tensor:
        """The Euclidean norms [n]."""
        norms: Tensor = torch.linalg.vector_norm(self._flat(), dim=1)
        return norms

    def multiplied(self) -> Tensor:
        """The gradients [n, ...] in the weight's shape."""
        return self.values if self.axes is None else self.values.permute(0, *(1 + axis for axis in self.axes))

    def total(self, factors: Tensor) -> Tensor:
        """Their sum with these factors [n], in the weight's shape."""
        summed = (factors @ self._flat()).view(self.values.shape[1:])
        return summed if self.axes is None else summed.permute(self.axes)

    def _flat(self) -> Tensor:
        return self.values.reshape(len(self.values), -1)


@dataclass(frozen=True, eq=False)
class Product:
    """Gradients that are sums over T places of outer products.

    outer: [n, T, p], the gradients at the layer's outputs. inner: what the weight was multiplied by there, [n, ...] of
    as many values as [n, T, d]; a view whose rows overlap is copied only while it is needed. shape: how a row of d
    values lies in memory, so that a gradient is [p, *shape]. axes: as in `Dense`.
    """

    outer: Tensor
    inner: Tensor
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None

    def norms(self) -> Tensor:
        """The Euclidean norms [n], from the inner products of places.

        Where large terms cancel, rounding may leave a norm that is too small; what it can take away is added.
        """
        inner, outer = (torch.bmm(x, x.transpose(1, 2)) for x in (self._inner(), self.outer))
        squares = (inner * outer).sum((1, 2))
        sizes = (inner.diagonal(dim1=1, dim2=2) * outer.diagonal(dim1=1, dim2=2)).sqrt().sum(1)
        return (squares + torch.finfo(squares.dtype).eps * sizes.square()).clamp(min=0).sqrt()

    def multiplied(self) -> Tensor:
        """The gradients [n, ...] in the weight's shape."""
        return self.dense().multiplied()

    def dense(self) -> Dense:
        """The same, multiplied out."""
        product = torch.bmm(self.outer.transpose(1, 2), self._inner())
        return Dense(product.view(*product.shape[:2], *self.shape), self.axes)

    def total(self, factors: Tensor) -> Tensor:
        """Their sum with these factors [n], in the weight's shape."""
        outer = (self.outer * factors.view(-1, 1, 1)).flatten(0, 1)
        summed = (outer.T @ self._inner().flatten(0, 1)).view(outer.shape[1], *self.shape)
        return summed if self.axes is None else summed.permute(self.axes)

    def _inner(self) -> Tensor:
        return self.inner.reshape(*self.outer.shape[:2], -1)


Gradient: TypeAlias = Dense | Product


def is_small(places: int, outer: int, inner: int) -> bool:
    """Whether a gradient of outer*inner values is no larger than the matrices of so many places.

    It is then also cheaper to multiply them than to multiply places with places.
    """
    return outer * inner <= places * (outer + inner)


def product(outer: Tensor, inner: Tensor, shape: tuple[int, ...], axes: tuple[int, ...] | None = None) -> Gradient:
    """The gradients of such matrices (see `Product`) in the smaller form."""
    found = Product(outer, inner, shape, axes)
    return found.dense() if is_small(outer.shape[1], outer.shape[2], prod(shape)) else found


def added(gradients: list[Gradient]) -> Gradient:
    """The gradients of a weight that is used in several places."""
    first, *others = gradients
    if not others:
        return first
    return Dense(sum((other.multiplied() for other in others), first.multiplied()))
