"""Rules of the layers that most networks are made of: dense layers, convolutions, and norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xaicli.train.private.gradients import Dense, Gradient, is_small, product
from xaicli.train.private.rule import Rule, Watched, Weights, kept, with_gradient

SCRATCH = 1 << 21  # values of unfolded images held at once: what stays in a processor's cache,
SCRATCH_GPU = 1 << 27  # or keeps a GPU busy


class Linear(Rule):
    """A matrix and a bias, on the last axis."""

    def run(self, data: Sequence[Any], weights: Weights) -> Tensor:
        """[..., d] -> [..., p]."""
        weight, bias = weights
        assert weight is not None
        return F.linear(data[0], weight, bias)

    def gradients(
        self, samples: int, data: Sequence[Any], weights: Weights, asked: Tensor, wanted: Sequence[bool]
    ) -> list[Gradient | None]:
        """By places: [n, T, p] and [n, T, d]."""
        outer = asked.reshape(samples, -1, asked.shape[-1])
        inner = data[0].to(asked.dtype).reshape(samples, -1, data[0].shape[-1])
        return [
            product(outer, inner, inner.shape[2:]) if wanted[0] else None,
            Dense(outer.sum(1)) if wanted[1] else None,
        ]


@dataclass(frozen=True)
class Convolution(Rule):
    """A convolution over one, two or three axes. pads: as `F.pad` takes them, the last axis first."""

    stride: tuple[int, ...]
    pads: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    mode: str = "constant"

    def run(self, data: Sequence[Any], weights: Weights) -> Tensor:
        """[N, C, ...] -> [N, p, ...]."""
        weight, bias = weights
        assert weight is not None
        function: Any = (F.conv1d, F.conv2d, F.conv3d)[len(self.stride) - 1]
        x, padding = data[0], self.pads[::-2]
        if self.mode != "constant" or padding != self.pads[-2::-2]:
            x, padding = self._padded(x), (0,) * len(self.stride)
        result: Tensor = function(x, weight, bias, self.stride, padding, self.dilation, self.groups)
        return result

    def gradients(
        self, samples: int, data: Sequence[Any], weights: Weights, asked: Tensor, wanted: Sequence[bool]
    ) -> list[Gradient | None]:
        """By places, as if the images were unfolded; those of a large batch are so piece by piece."""
        outer = asked.movedim(1, -1).reshape(samples, -1, asked.shape[1])
        weight = weights[0]
        assert weight is not None
        bias = Dense(outer.sum(1)) if wanted[1] else None
        return [self._weight(outer, data[0].to(asked.dtype), weight) if wanted[0] else None, bias]

    def _weight(self, outer: Tensor, x: Tensor, weight: Tensor) -> Gradient:
        samples, places, channels = outer.shape
        shape = (*weight.shape[2:], weight.shape[1])
        axes = (0, weight.dim() - 1, *range(1, weight.dim() - 1))
        patches = self._patches(self._padded(x), weight.shape[2:])
        patches = patches.view(samples, -1, *patches.shape[1:])
        if self.groups == 1 and not is_small(places, channels, prod(shape)):
            return product(outer, patches, shape, axes)
        values = x.new_empty(samples, channels, *shape)
        outer = outer.view(samples, places, self.groups, -1).permute(0, 2, 3, 1)
        piece = max((SCRATCH if x.device.type == "cpu" else SCRATCH_GPU) // (places * self.groups * prod(shape)), 1)
        for start in range(0, samples, piece):
            some = slice(start, start + piece)
            inner = patches[some].reshape(-1, places, self.groups, prod(shape)).transpose(1, 2)
            torch.matmul(outer[some], inner, out=values[some].view(-1, self.groups, *(outer.shape[2], prod(shape))))
        return Dense(values, axes)

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pads, self.mode) if any(self.pads) else x

    def _patches(self, x: Tensor, kernel: Sequence[int]) -> Tensor:
        """What the kernel sees at every place, a view [N, ..., groups, *kernel, channels of a group]."""
        x = x.movedim(1, -1).contiguous()
        rows, *sizes, channels = x.shape
        row, *steps, _ = x.stride()
        out = [
            (size - dilation * (side - 1) - 1) // stride + 1
            for size, side, stride, dilation in zip(sizes, kernel, self.stride, self.dilation, strict=True)
        ]
        width = channels // self.groups
        strides = [step * stride for step, stride in zip(steps, self.stride, strict=True)]
        inside = [step * dilation for step, dilation in zip(steps, self.dilation, strict=True)]
        return x.as_strided((rows, *out, self.groups, *kernel, width), (row, *strides, width, *inside, 1))


@dataclass(frozen=True)
class Group(Rule):
    """GroupNorm: every image's own mean and deviation for each group of channels, which its derivative uses again."""

    groups: int
    eps: float

    def run(self, data: Sequence[Any], weights: Weights) -> Tensor:
        """[N, C, ...] -> [N, C, ...]."""
        weight, bias = weights
        return F.group_norm(data[0], self.groups, weight, bias, self.eps)

    def watch(self, data: Sequence[Any], weights: Weights) -> Watched:
        """The means and inverse deviations are kept, [N, groups]."""
        weight, bias = weights
        x = data[0] if weight is None else data[0].to(weight.dtype)  # as autocast would
        rows, channels, *sizes = x.shape
        output, means, inverses = torch.native_group_norm(
            x, weight, bias, rows, channels, prod(sizes), self.groups, self.eps
        )
        return Watched(output, with_gradient(output), kept((x, means, inverses)))

    def gradients(
        self, samples: int, data: Sequence[Any], weights: Weights, asked: Tensor, wanted: Sequence[bool]
    ) -> list[Gradient | None]:
        """Per channel: sum g (x - mean) / deviation, and sum g, over places."""
        x, means, inverses = (part.to(asked.dtype) for part in data)
        shape = (samples, -1, x.shape[1])
        summed = _over_places(asked)
        if not wanted[0]:
            return [None, Dense(summed.view(shape).sum(1))]
        means, inverses = (part.repeat_interleave(x.shape[1] // self.groups, 1) for part in (means, inverses))
        scaled = (_over_places(asked * x) - means * summed) * inverses
        return [Dense(scaled.view(shape).sum(1)), Dense(summed.view(shape).sum(1)) if wanted[1] else None]


def _over_places(x: Tensor) -> Tensor:
    """The sums over all axes but rows and channels, [N, C]."""
    return x.reshape(*x.shape[:2], -1).sum(2)


@dataclass(frozen=True)
class Affine(Rule):
    """A normalisation, then a factor and a summand per channel; `normalise` is the part without weights.

    last: whether the weights lie along the last axes instead of the second one.
    """

    normalise: Callable[[Tensor], Tensor]
    apply: Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
    last: bool = False

    def run(self, data: Sequence[Any], weights: Weights) -> Tensor:
        """[N, ...] -> [N, ...]."""
        return self.apply(data[0], *weights)

    def gradients(
        self, samples: int, data: Sequence[Any], weights: Weights, asked: Tensor, wanted: Sequence[bool]
    ) -> list[Gradient | None]:
        """Sums over places, of the gradient and of its product with the normalised input."""
        shapes = [weight.shape for weight in weights if weight is not None]
        inputs = self.normalise(data[0].to(asked.dtype)) if wanted[0] else asked
        terms = (asked * inputs if wanted[0] else None, asked if wanted[1] else None)
        return [None if term is None else Dense(self._sums(term, samples, shapes[0])) for term in terms]

    def _sums(self, term: Tensor, samples: int, shape: torch.Size) -> Tensor:
        if self.last:
            return term.reshape(samples, -1, *shape).sum(1)
        return _over_places(term).view(samples, -1, *shape).sum(1)
